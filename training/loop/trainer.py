"""One optimizer step, and everything a run has to remember between two of them."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.config import TrainConfig
from training.data.batch import make_batch
from training.data.dataset import ClipStream
from training.data.encoder import FrozenEncoder
from training.errors import TrainingStopped
from training.loop.checkpoint import Checkpoints, read, told_when_disk_full
from training.loop.ema import Ema
from training.loop.networks import Trainee
from training.loop.optimizer import learning_rate, make_optimizer
from training.loop.runtime import sharded

logger = logging.getLogger(__name__)

EMA_FILE = "ema.safetensors"


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step came to; losses are means over all clips of all processes."""

    step: int  # steps done, this one included
    loss: float
    ldm: float
    portrait: float
    grad_norm: float  # before clipping
    lr: float
    skipped: tuple[str, ...] = ()  # samples because of which the weights were left as they were

    @property
    def finite(self) -> bool:
        """Whether the step was taken."""
        return not self.skipped


class Trainer:
    """Weights, optimizer, average, data position. Every process has one and calls the same methods in step."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        trainee: Trainee,
        trained: list[tuple[str, nn.Parameter]],
        stream: ClipStream,
        encoder: FrozenEncoder,
        checkpoints: Checkpoints,
    ) -> None:
        self.config, self.accelerator = config, accelerator
        self.stream, self.checkpoints = stream, checkpoints
        self._encoder = encoder
        optimizer = make_optimizer(config.optimizer, [value for _, value in trained])
        self.trainee: nn.Module
        self.trainee, self.optimizer = accelerator.prepare(trainee, optimizer)
        self._trained = [name for name, _ in trained]
        self.ema = Ema(trained, config.ema.decay, config.ema.warmup) if config.ema.decay else None
        self.bare.follow(self.ema)
        self.step_number = 0
        self.skipped = 0  # steps in all
        self._bad = 0  # steps in a row
        self._clips = 0  # handed out to this process

    @property
    def bare(self) -> Trainee:
        """The module without its wrappers."""
        bare: Trainee = self.accelerator.unwrap_model(self.trainee)
        return bare

    def step(self) -> StepReport:
        """Accumulate, clip, step, average. Raises TrainingStopped after too many bad steps, DataError."""
        lr = learning_rate(self.config.optimizer, self.step_number, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        seen, names = [], []
        for _ in range(self.config.accumulation):
            losses, told = self._accumulate()
            seen.append(losses)
            names += told
        each = torch.cat(seen)  # [clips,2]
        norm = self.accelerator.clip_grad_norm_(self.trainee.parameters(), self.config.optimizer.clip_norm)
        norm = math.nan if norm is None else float(norm)
        ldm, portrait = self.accelerator.reduce(each.mean(0), "mean").tolist()
        loss = ldm + portrait
        self.step_number += 1
        skipped: tuple[str, ...] = ()
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.step()
            if self.ema is not None:
                self.ema.update()
            self._bad = 0
        else:
            skipped = self._skip(each, names, math.isfinite(loss))
        self.optimizer.zero_grad(set_to_none=True)
        if self._bad >= self.config.bad_steps:
            last = self.checkpoints.newest()
            raise TrainingStopped(
                f"step {self.step_number}: loss or gradient was not finite {self._bad} times in a row, last with "
                f"{', '.join(skipped[:4])}; the last good checkpoint is {last or 'none: the run had not saved yet'}",
                'lower optimizer.lr, set precision = "no" or "bf16", or look at the samples that log.jsonl names',
            )
        return StepReport(self.step_number, loss, ldm, portrait, norm, lr, skipped)

    def _accumulate(self) -> tuple[Tensor, list[str]]:
        """One batch forward and backward: the losses of its clips [B,2] and their names."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        clips = [next(self.stream) for _ in range(self.config.batch)]
        slots = [(self._clips + i) * world + rank for i in range(len(clips))]
        self._clips += len(clips)
        batch = make_batch(clips, slots, self.config, self._encoder, self.accelerator.device)
        with self.accelerator.accumulate(self.trainee):
            losses: Tensor = self.trainee(batch)
            self.accelerator.backward(losses.sum(1).mean())
        return losses.detach(), list(batch.names)

    def _skip(self, each: Tensor, names: list[str], finite_loss: bool) -> tuple[str, ...]:
        """Leave the weights as they are; says whose fault it was, over all processes."""
        guilty = [name for name, row in zip(names, each, strict=True) if not torch.isfinite(row).all()]
        blamed = tuple(gather_object(guilty)) or tuple(gather_object(names))
        scaler = self.accelerator.scaler
        if scaler is not None:
            self.optimizer.step()  # the scaler skips by itself, and lowers its scale
        if scaler is None or not finite_loss or scaler.get_scale() < 1:
            self._bad += 1
        self.skipped += 1
        what = "gradient" if finite_loss else "loss"
        logger.warning("step %d skipped: the %s is not finite, with %s", self.step_number, what, ", ".join(blamed))
        return blamed

    def save(self) -> Path:
        """A whole checkpoint of this step. Raises DiskFull, DataError; older ones stay as they are."""
        accelerator, folder = self.accelerator, self.checkpoints.folder
        part = folder / f".step-{self.step_number:08d}"
        if accelerator.is_main_process:
            self.checkpoints.begin(self.step_number)
        accelerator.wait_for_everyone()
        try:
            with told_when_disk_full(folder):
                accelerator.save_state(str(part))
                if self.ema is not None and accelerator.is_main_process:
                    save_file(self.ema.shadow, part / EMA_FILE)
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                self.checkpoints.finish(part, self._document())
        except BaseException:
            if accelerator.is_main_process:
                self.checkpoints.abandon(part)
            raise
        accelerator.wait_for_everyone()
        return folder / part.name.removeprefix(".")

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises DataError, TrainingStopped."""
        document = read(path)
        mine = self.config.model_dump(mode="json")
        # What the weights will say of themselves must hold for all of their steps.
        for name in ("distill", "staggered"):
            if document["config"].get(name) != mine[name]:
                raise TrainingStopped(
                    f"{path} was trained with another [{name}] table",
                    "give the configuration of that run, another output, or --fresh",
                )
        kind = type(self.optimizer.optimizer).__name__
        if document.get("optimizer", kind) != kind:
            raise TrainingStopped(
                f"{path} was trained with {document['optimizer']}, this run has {kind}",
                "give the optimizer.name of that run, and install what it needs",
            )
        try:
            self.accelerator.load_state(str(path))
            # Its count of batches is of the old accumulation: kept, a step could fall into the middle of ours for ever.
            self.accelerator.step = 0
            for group in self.optimizer.param_groups:  # and these the old run's
                group.update(betas=self.config.optimizer.betas, eps=self.config.optimizer.eps)
                group["weight_decay"] = self.config.optimizer.weight_decay
            if self.ema is not None:
                stored = load_file(path / EMA_FILE, device=str(self.accelerator.device))
                self.ema.load_state_dict({"updates": document["ema_updates"], "shadow": stored})
        except (RuntimeError, KeyError, ValueError, OSError) as error:
            raise TrainingStopped(
                f"{path} does not fit this configuration ({error})", "give the configuration of that run, or --fresh"
            ) from error
        self.stream.load_state_dict(document["stream"])
        self._clips = document["stream"]["slots"] // self.accelerator.num_processes
        self.step_number, self.skipped, self._bad = document["step"], document["skipped"], document["bad"]

    def exported(self) -> dict[str, Tensor]:
        """What is exported: the averaged weights, or the trained ones; all of them where they had to be gathered."""
        if self.ema is not None:
            return self.ema.shadow
        state: dict[str, Tensor] = self.accelerator.get_state_dict(self.trainee)
        if sharded(self.accelerator):
            return state
        return {name: state[name] for name in self._trained if name in state}

    def _document(self) -> dict[str, Any]:
        return {
            "step": self.step_number,
            "skipped": self.skipped,
            "bad": self._bad,
            "ema_updates": self.ema.updates if self.ema else 0,
            "stream": self.stream.state_dict(),
            "processes": self.accelerator.num_processes,
            "optimizer": type(self.optimizer.optimizer).__name__,
            "config": self.config.model_dump(mode="json"),
        }


def check_sharding(config: TrainConfig, accelerator: Accelerator) -> None:
    """Raises TrainingStopped where the average would need whole weights that no process has, or nothing is shared."""
    if config.distributed.strategy == "fsdp" and not sharded(accelerator):
        # accelerate passes over the plugin of a single process in silence
        raise TrainingStopped(
            "distributed.strategy fsdp: one process has no other to share the weights with",
            'accelerate launch --num_processes N, or set distributed.strategy = "ddp"',
        )
    if sharded(accelerator) and config.validation.every:
        raise TrainingStopped(
            "validation.every: with FSDP or ZeRO-3 a process holds a part of the weights only and cannot look alone",
            'set validation.every = 0, or distributed.strategy = "ddp"',
        )
    if sharded(accelerator) and config.ema.decay:
        raise TrainingStopped(
            "ema.decay: with FSDP or ZeRO-3 a process holds a part of the weights only, and the average is not kept",
            'set ema.decay = 0, or distributed.strategy = "ddp"',
        )
