"""A process of test_ddp runs `ddp_child.py CONFIG.json GRADIENT.pt` with torchrun's variables."""

import json
import sys
from pathlib import Path

import torch

from training.config import config_from
from training.loop.runtime import make_accelerator
from training.loop.train import Run


def main(config: Path, gradient: Path) -> None:
    """Writes the gradient of the first batch, then trains the run from its beginning."""
    settings = config_from(json.loads(config.read_text()))
    accelerator = make_accelerator(settings)
    with Run(settings, accelerator, resume=False) as run:
        run.trainer._accumulate()
        if accelerator.is_main_process:
            torch.save({n: p.grad for n, p in run.trainer.unwrapped.named_parameters() if p.requires_grad}, gradient)
    accelerator.free_memory()
    with Run(settings, accelerator, resume=False) as run:
        run.run(None)
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
