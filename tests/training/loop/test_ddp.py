"""Two real DistributedDataParallel processes (gloo, CPU) compute what one process computes with twice the batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the lcvd extra is not installed")
pytest.importorskip("accelerate", reason="the lcvd extra is not installed")

from tests.rounding import rounding  # noqa: E402
from tests.training.run_log import read_log  # noqa: E402
from tests.training.tiny_run import tiny_config, tiny_table  # noqa: E402
from training.loop.checkpoint import problem_of, read  # noqa: E402
from training.loop.runtime import make_accelerator  # noqa: E402
from training.loop.train import Run, train  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """The gradient, the logged losses and the data position agree; a single process can go on from the checkpoint."""
    changes = {"steps": 2, "optimizer__lr": 1e-4}
    config, gradient = tmp_path / "two.json", tmp_path / "gradient.pt"
    config.write_text(json.dumps(tiny_table(tmp_path / "two", **changes)))
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("ddp_child.py")), str(config), str(gradient)]
    children = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    alone = tiny_config(tmp_path / "one", batch=2, **changes)
    with Run(alone, make_accelerator(alone), resume=False) as run:
        run.trainer._accumulate()
        mine = {n: p.grad.clone() for n, p in run.trainer.unwrapped.named_parameters() if p.requires_grad}
    train(alone, resume=False)
    try:
        said = [child.communicate(timeout=200)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0], said
    theirs = torch.load(gradient, weights_only=True)
    assert theirs.keys() == mine.keys()
    largest = max(mine.values(), key=lambda value: float(value.abs().max()))
    assert float(largest.abs().max()) > 1e-3
    limit = rounding(run.trainer.unwrapped, largest, calls=2)  # forward and back
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name], value, atol=limit, rtol=0, msg=name)

    def curve(folder: str) -> list[float]:
        return [row["loss"] for row in read_log(tmp_path / folder / "log.jsonl") if row["kind"] == "train"]

    assert curve("two") == pytest.approx(curve("one"), rel=1e-4)
    saved = tmp_path / "two" / "checkpoints" / "step-00000002"
    assert problem_of(saved) is None
    assert read(saved)["processes"] == 2
    assert read(saved)["stream"] == read(tmp_path / "one" / "checkpoints" / "step-00000002")["stream"]
    went_on = train(tiny_config(tmp_path / "two", batch=2, **(changes | {"steps": 3})))
    assert (went_on.resumed_at, went_on.step) == (2, 3)
