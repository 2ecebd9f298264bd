"""Trainer takes one optimizer step at a time and holds all state that a checkpoint has to save."""

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
from training.data.shards import raise_disk_full
from training.errors import TrainingStopped
from training.loop.adversary import OpponentReport, opponent_of
from training.loop.checkpoint import Checkpoints, read
from training.loop.ema import Ema
from training.loop.networks import TrainableModel
from training.loop.optimizer import learning_rate, make_optimizer
from training.loop.runtime import sharded

logger = logging.getLogger(__name__)

EMA_FILE = "ema.safetensors"


@dataclass(frozen=True, slots=True)
class StepReport:
    """Holds the result of one step; losses are means over all clips of all processes."""

    step: int  # steps done, this one included
    loss: float
    ldm: float
    portrait: float
    grad_norm: float  # before clipping
    lr: float
    skipped: tuple[str, ...] = ()  # the samples because of which the weights were not updated
    adversarial: float | None = None  # the third term, of an adversarial student
    opponent: OpponentReport | None = None

    @property
    def finite(self) -> bool:
        """Returns True where the weights were updated."""
        return not self.skipped


class Trainer:
    """Holds weights, optimizer, average and data position. Every process has one and calls the same methods in step."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        trainable: TrainableModel,
        trained: list[tuple[str, nn.Parameter]],
        stream: ClipStream,
        encoder: FrozenEncoder,
        checkpoints: Checkpoints,
    ) -> None:
        self.config, self.accelerator = config, accelerator
        self.stream, self.checkpoints = stream, checkpoints
        self._encoder = encoder
        optimizer = make_optimizer(config.optimizer, [value for _, value in trained])
        self.trainable: nn.Module
        self.trainable, self.optimizer = accelerator.prepare(trainable, optimizer)
        self._trained = [name for name, _ in trained]
        self.ema = Ema(trained, config.ema.decay, config.ema.warmup) if config.ema.decay else None
        self.unwrapped.use_average(self.ema)
        self.opponent = opponent_of(self.unwrapped, config, accelerator)
        self.step_number = 0
        self.skipped = 0  # steps, in total
        self._bad = 0  # bad steps in a row
        self._clips = 0  # that this process got from the stream

    @property
    def unwrapped(self) -> TrainableModel:
        """Returns the module without its DDP, FSDP or DeepSpeed wrapper."""
        unwrapped: TrainableModel = self.accelerator.unwrap_model(self.trainable)
        return unwrapped

    def step(self) -> StepReport:
        """Accumulates gradients, clips them, steps the optimizer and updates the average.

        Raises TrainingStopped after too many bad steps, DataError.
        """
        lr = learning_rate(self.config.optimizer, self.step_number, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        seen, names = [], []
        for _ in range(self.config.accumulation):
            losses, batch_names = self._accumulate()
            seen.append(losses)
            names += batch_names
        each = torch.cat(seen)  # [clips, terms]
        norm = self.accelerator.clip_grad_norm_(self.trainable.parameters(), self.config.optimizer.clip_norm)
        norm = math.nan if norm is None else float(norm)
        means = dict(zip(self.unwrapped.terms, self.accelerator.reduce(each.mean(0), "mean").tolist(), strict=True))
        loss = sum(means.values())
        opponent_norm = self.opponent.clipped_norm() if self.opponent is not None else 0.0
        self.step_number += 1
        skipped: tuple[str, ...] = ()
        finite = math.isfinite(loss) and math.isfinite(norm) and math.isfinite(opponent_norm)
        if finite:
            self.optimizer.step()
            if self.ema is not None:
                self.ema.update()
            self._bad = 0
        else:
            skipped = self._nonfinite_samples(each, names)
            self._skip_step(skipped, math.isfinite(loss))
        self.optimizer.zero_grad(set_to_none=True)
        opponent = None if self.opponent is None else self.opponent.step(opponent_norm, update=finite)
        if self._bad >= self.config.bad_steps:
            last = self.checkpoints.newest()
            raise TrainingStopped(
                f"step {self.step_number}: loss or gradient was not finite {self._bad} times in a row, last with "
                f"{', '.join(skipped[:4])}; the last good checkpoint is {last or 'none: the run had not saved yet'}",
                'lower optimizer.lr, set precision = "no" or "bf16", or look at the samples that log.jsonl names',
            )
        return StepReport(self.step_number, loss, **means, grad_norm=norm, lr=lr, skipped=skipped, opponent=opponent)

    def _accumulate(self) -> tuple[Tensor, list[str]]:
        """Runs one batch forward and backward; returns the losses of its clips [B, terms] and their names."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        clips = [next(self.stream) for _ in range(self.config.batch)]
        slots = [(self._clips + i) * world + rank for i in range(len(clips))]
        self._clips += len(clips)
        batch = make_batch(clips, slots, self.config, self._encoder, self.accelerator.device)
        players = [self.trainable] if self.opponent is None else [self.trainable, self.opponent.wrapped]
        with self.accelerator.accumulate(*players):
            losses: Tensor = self.trainable(batch)
            self.accelerator.backward(losses.sum(1).mean())
            if self.opponent is not None:
                self.opponent.accumulate()
        return losses.detach(), list(batch.names)

    def _nonfinite_samples(self, each: Tensor, names: list[str]) -> tuple[str, ...]:
        """Returns the samples of all processes whose loss is not finite; all of the step's where only a gradient is."""
        nonfinite = [name for name, row in zip(names, each, strict=True) if not torch.isfinite(row).all()]
        return tuple(gather_object(nonfinite)) or tuple(gather_object(names))

    def _skip_step(self, samples: tuple[str, ...], finite_loss: bool) -> None:
        """Leaves the weights as they are, counts the step as skipped and logs the samples."""
        scaler = self.accelerator.scaler
        if scaler is not None:
            self.optimizer.step()  # the scaler skips the update and lowers its scale
        if scaler is None or not finite_loss or scaler.get_scale() < 1:
            self._bad += 1
        self.skipped += 1
        what = "gradient" if finite_loss else "loss"
        logger.warning("step %d skipped: the %s is not finite, with %s", self.step_number, what, ", ".join(samples))

    def save(self) -> Path:
        """Saves a checkpoint of this step; older ones stay as they are. Raises DiskFull, DataError."""
        accelerator, folder = self.accelerator, self.checkpoints.folder
        part = folder / f".step-{self.step_number:08d}"
        if accelerator.is_main_process:
            self.checkpoints.begin(self.step_number)
        accelerator.wait_for_everyone()
        try:
            with raise_disk_full(folder):
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
        """Continues from a checkpoint. Raises DataError, TrainingStopped."""
        document = read(path)
        mine = self.config.model_dump(mode="json")
        # The manifest describes the weights by these tables, so they must hold for all steps.
        for name in ("distill", "staggered"):
            if not _same_table(document["config"].get(name), mine[name]):
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
            # Its count of batches belongs to the old accumulation and could put every step in the middle of a new one.
            self.accelerator.step = 0
            for group in self.optimizer.param_groups:  # the state has the old run's numbers
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
        """Returns the weights to export: the average, or the trained ones (all weights where they are sharded)."""
        if self.ema is not None:
            return self.ema.shadow
        state: dict[str, Tensor] = self.accelerator.get_state_dict(self.trainable)
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


def _same_table(stored: dict[str, Any] | None, mine: dict[str, Any] | None) -> bool:
    """Returns True for equal tables; a table that newer code has, and leaves out by default, may be missing."""
    if stored is None or mine is None:
        return stored == mine
    absent = {name: None for name, value in mine.items() if value is None}
    return absent | stored == mine


def check_sharding(config: TrainConfig, accelerator: Accelerator) -> None:
    """Raises TrainingStopped where fsdp has one process, or where sharded weights are validated or averaged."""
    if config.distributed.strategy == "fsdp" and not sharded(accelerator):
        # accelerate silently ignores the plugin in a single process
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
