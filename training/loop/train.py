"""`train(config)` makes weights that the server loads; the same call continues an interrupted run."""

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from lcvd.model import LcvdModel
from training.config import TrainConfig
from training.data.dataset import ClipDataset, ClipStream
from training.data.encoder import FrozenEncoder
from training.data.shards import raise_disk_full, write_json
from training.data.synthetic import HeadSource, SyntheticClips
from training.lock import folder_lock
from training.loop.adversary import AdversarialDistiller
from training.loop.checkpoint import Checkpoints
from training.loop.distiller import Distiller, load_teacher, manifest_notes
from training.loop.export import export
from training.loop.log import LOG, RunLog, plain
from training.loop.networks import Networks, TrainableModel, choose_trained, disable_adapters, load_networks
from training.loop.runtime import make_accelerator, sharded
from training.loop.signals import StopSignal
from training.loop.trainer import StepReport, Trainer, check_sharding
from training.loop.validation import Validation, ValidationReport

logger = logging.getLogger(__name__)

OnStep = Callable[[StepReport, float], None]  # (report, steps a second)
WEIGHTS, CHECKPOINTS, SAMPLES = "weights", "checkpoints", "samples"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Holds the result of a run, or of the part of it that this call ran."""

    output: Path
    step: int
    steps: int  # config.steps
    resumed_at: int
    loss: float | None  # mean over the last tenth of this part's steps, at most 100
    checkpoint: Path | None
    weights: Path | None  # the converted folder, where it was written
    skipped: int
    seconds: float
    steps_per_s: float | None
    clips_per_s: float | None
    stopped_by: str | None  # name of the signal
    validation: ValidationReport | None


def train(
    config: TrainConfig,
    resume: bool = True,  # False: checkpoints and log of the output folder are removed first
    on_step: OnStep | None = None,
) -> TrainResult:
    """Trains until config.steps or a signal. Every process of a distributed run calls it.

    Raises TrainingError (ConfigError, DataError, DiskFull, TrainingStopped) or an error of lcvd.
    """
    accelerator = make_accelerator(config)
    try:
        check_sharding(config, accelerator)
        with _folder(config, accelerator), Run(config, accelerator, resume) as run:
            return run.run(on_step)
    finally:
        if accelerator.num_processes == 1:
            # accelerate keeps these for the life of the process, but the next run may have another precision.
            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()


@contextlib.contextmanager
def _folder(config: TrainConfig, accelerator: Accelerator) -> Iterator[None]:
    """Makes the output folder and locks it for this run. Raises DataError, DiskFull."""
    if not accelerator.is_main_process:
        yield
        return
    with raise_disk_full(config.output):
        config.output.mkdir(parents=True, exist_ok=True)
    with folder_lock(config.output):
        yield


class Run:
    """Opens and closes everything that one call of `train` uses: networks, data, trainer, log, validation."""

    def __init__(self, config: TrainConfig, accelerator: Accelerator, resume: bool) -> None:
        self.config, self.accelerator = config, accelerator
        self._main = accelerator.is_main_process
        if self._main and not resume:
            with raise_disk_full(config.output):
                _remove_outputs(config.output)
        accelerator.wait_for_everyone()
        with contextlib.ExitStack() as opened:
            self._open(resume, opened)
            self._closing = opened.pop_all()

    def _open(self, resume: bool, opened: contextlib.ExitStack) -> None:
        config, accelerator = self.config, self.accelerator
        parts, model = load_networks(config.model, accelerator.device, config.seed)
        self.parts: Networks = parts
        self.model: LcvdModel = model
        trainable = TrainableModel(parts["unet"], parts["adapters"], config.region)
        if config.distill is not None:
            teacher = load_teacher(config, accelerator.device)
            adversarial = config.distill.adversarial is not None
            trainable = (
                AdversarialDistiller(trainable, teacher, config)
                if adversarial
                else Distiller(trainable, teacher, config.distill)
            )
        disable_adapters(parts["adapters"], config.conditions)
        trained = choose_trained(trainable, config)
        self.stream = opened.enter_context(make_stream(config, accelerator))
        latents = (config.data.latents_dir or config.output / "latents") if config.data.latents == "cached" else None
        bf16 = config.precision == "bf16"
        self.encoder = FrozenEncoder(model, config.data, latents, accelerator.process_index, bf16)
        opened.callback(self.encoder.close)
        checkpoints = Checkpoints(config.output / CHECKPOINTS, config.checkpoint.keep)
        self.trainer = Trainer(config, accelerator, trainable, trained, self.stream, self.encoder, checkpoints)
        self.resumed = checkpoints.newest() if resume else None
        if self.resumed is not None:
            self.trainer.load(self.resumed)
        self.resumed_at = self.trainer.step_number
        self.log: RunLog | None = None
        if self._main:
            write_json(config.output / "config.json", config.model_dump(mode="json"))
            self.log = RunLog(config.output, self.resumed_at, config.tensorboard)
            opened.callback(self.log.close)
            count = sum(value.numel() for _, value in trained)
            self.log.write(self.resumed_at, "start", parameters=count, processes=accelerator.num_processes)
        self.validation = Validation(config, self.encoder) if self._main and config.validation.every else None
        self._saved: Path | None = self.resumed
        self._weights: Path | None = None
        self._validated: ValidationReport | None = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def run(self, on_step: OnStep | None) -> TrainResult:
        """Takes steps until the end or a signal."""
        trainer, config = self.trainer, self.config
        losses: list[float] = []
        began = time.perf_counter()
        if trainer.step_number >= config.steps:
            self._export()  # an earlier call may have been interrupted between its last checkpoint and the export
        with StopSignal().listening() as stop:
            stopped = self._stop_agreed(stop)
            while trainer.step_number < config.steps and not stopped:
                at = time.perf_counter()
                report = trainer.step()
                rate = 1 / max(time.perf_counter() - at, 1e-9)
                self._log_step(report, rate)
                if report.finite:
                    losses.append(report.loss)
                if on_step is not None:
                    on_step(report, rate)
                stopped = self._stop_agreed(stop)
                self._validate_and_save(last=stopped or report.step == config.steps)
        seconds = time.perf_counter() - began
        done = trainer.step_number - self.resumed_at
        clips = done * config.clips_a_step * self.accelerator.num_processes
        tail = losses[-max(1, min(100, len(losses) // 10)) :]
        return TrainResult(
            output=config.output,
            step=trainer.step_number,
            steps=config.steps,
            resumed_at=self.resumed_at,
            loss=sum(tail) / len(tail) if tail else None,
            checkpoint=self._saved,
            weights=self._weights,
            skipped=trainer.skipped,
            seconds=seconds,
            steps_per_s=done / seconds if done else None,
            clips_per_s=clips / seconds if done else None,
            stopped_by=stop.name if stopped else None,
            validation=self._validated,
        )

    def _validate_and_save(self, last: bool) -> None:
        """Validates and saves a checkpoint where this step is due for it."""
        step, config = self.trainer.step_number, self.config
        if config.validation.every and (step % config.validation.every == 0 or step == config.steps):
            self._validate()
        if step % config.checkpoint.every == 0 or last:
            if self.log is not None:
                self.log.sync()
            self._saved = self.trainer.save()
            if config.checkpoint.export or step == config.steps:
                self._export()

    def _validate(self) -> None:
        if self.validation is not None and self.log is not None:
            average = self.trainer.ema.applied() if self.trainer.ema else contextlib.nullcontext()
            with average:
                report = self.validation.measure(self.trainer.unwrapped, self.model)
            step = self.trainer.step_number
            self.log.write(
                step,
                "validation",
                loss=report.loss,
                by_sigma=report.by_sigma,
                psnr=report.psnr,
                psnr_reference=report.psnr_reference,
            )
            if report.grid is not None:
                path = self.config.output / SAMPLES / f"step-{step:08d}.png"
                with raise_disk_full(path.parent):
                    path.parent.mkdir(exist_ok=True)
                    cv2.imwrite(str(path), report.grid[:, :, ::-1])
                self.log.picture(step, "samples", report.grid)
            self._validated = report
        self.accelerator.wait_for_everyone()

    def _export(self) -> None:
        trained = self.trainer.exported()
        if self._main:
            about = {
                "step": self.trainer.step_number,
                "seed": self.config.seed,
                "data": self.stream.dataset.fingerprint,
                "ema_decay": self.config.ema.decay,
                "clips a step": self.config.clips_a_step * self.accelerator.num_processes,
            }
            mean_std = {"image_mean": list(self.model.image_mean), "image_std": list(self.model.image_std)}
            if self.config.distill is not None:
                about["recipe"] = "phases" if self.config.distill.adversarial is None else "adversarial"
            notes = manifest_notes(self.config)
            self._weights = export(
                self.config.output / WEIGHTS,
                self.parts,
                trained,
                about,
                mean_std,
                notes=notes,
                whole=sharded(self.accelerator),
            )
        self.accelerator.wait_for_everyone()

    def _log_step(self, report: StepReport, rate: float) -> None:
        if self.log is not None:
            clips = self.config.clips_a_step * self.accelerator.num_processes
            self.log.write(
                report.step,
                "train",
                loss=report.loss,
                ldm=report.ldm,
                portrait=report.portrait,
                grad_norm=report.grad_norm,
                lr=report.lr,
                clips_per_s=round(rate * clips, 3),
                epoch=self.stream.epoch,
                **({} if report.opponent is None else {"adversarial": report.adversarial}),
                **({} if report.opponent is None else {f"heads_{k}": v for k, v in asdict(report.opponent).items()}),
                **({"skipped": list(report.skipped)} if report.skipped else {}),
            )

    def _stop_agreed(self, stop: StopSignal) -> bool:
        """Returns True where any process got a signal, so that all stop after the same step."""
        if self.accelerator.num_processes == 1:
            return stop.name is not None
        import torch

        stops = torch.tensor([float(stop.name is not None)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(stops, "sum").item())


def make_stream(config: TrainConfig, accelerator: Accelerator) -> ClipStream:
    """Returns the clips of this process. Raises DataError."""
    data = config.data
    rank, world = accelerator.process_index, accelerator.num_processes
    if data.synthetic is None:
        dataset = ClipDataset(data.folders)
        dataset.expect(data.frames, data.size)
        return ClipStream(dataset, seed=config.seed, rank=rank, world=world, threads=data.threads)
    return SyntheticClips(
        head_source(config),
        frames=data.frames,
        seed=config.seed,
        relit_pairs=data.synthetic.relit_pairs,
        rank=rank,
        world=world,
        threads=data.threads,
    )


def head_source(config: TrainConfig) -> HeadSource:
    """Returns the heads of a configuration that trains on synthetic ones."""
    data, heads = config.data, config.data.synthetic
    assert heads is not None, "the configuration trains on folders"
    frames = heads.clip_frames or data.frames
    room = int(heads.cache_gb * 2**30)
    return HeadSource(heads.heads, heads.first, frames, data.size, heads.cache, room, heads.facekit)


def _remove_outputs(output: Path) -> None:
    """Removes what a run leaves in its folder, except caches."""
    for name in (CHECKPOINTS, SAMPLES, WEIGHTS, "tensorboard"):
        shutil.rmtree(output / name, ignore_errors=True)
    (output / LOG).unlink(missing_ok=True)


def result_document(result: TrainResult) -> str:
    """Returns the last line of stdout: one JSON object."""
    validation = result.validation
    document = {
        "output": str(result.output),
        "step": result.step,
        "steps": result.steps,
        "resumed_at": result.resumed_at,
        "loss": result.loss,
        "validation_loss": validation.loss if validation else None,
        "psnr": validation.psnr if validation else None,
        "psnr_reference": validation.psnr_reference if validation else None,
        "checkpoint": str(result.checkpoint) if result.checkpoint else None,
        "weights": str(result.weights) if result.weights else None,
        "skipped": result.skipped,
        "seconds": round(result.seconds, 2),
        "steps_per_s": result.steps_per_s and round(result.steps_per_s, 4),
        "clips_per_s": result.clips_per_s and round(result.clips_per_s, 4),
        "stopped_by": result.stopped_by,
    }
    return json.dumps(plain(document), allow_nan=False)
