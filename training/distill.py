"""`relight distill` trains students of few steps one after the other and compares them with their teacher.

Each student is a run of the trainer in its own folder (`steps-4`, `steps-2`, …) and starts from the one before it; the
teacher stays the same. After an interruption the same call continues; finished students are not trained again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lcvd.model import load_lcvd
from training.comparison import Comparison, OnRow, compare
from training.config import DropoutConfig, TrainConfig
from training.errors import ConfigError
from training.loop.phases import Phases
from training.loop.train import WEIGHTS, TrainResult, train
from training.loop.trainer import StepReport

NO_DROPOUT = DropoutConfig(keep=1.0, all_dropped=0.0, all_kept=1.0, clip=0.0, latent=0.0, both=0.0)
OnStudentStep = Callable[[int, StepReport, float], None]  # (the student's steps, report, steps a second)


@dataclass(frozen=True, slots=True)
class DistillResult:
    """Holds the result of each student, in the order they were trained, and the table."""

    students: tuple[TrainResult, ...]
    comparison: Comparison | None  # None: stopped by a signal, no heads asked for, or not the main process

    @property
    def stopped_by(self) -> str | None:
        """Returns the name of the signal that ended the last run, or None."""
        return self.students[-1].stopped_by


def distill(
    config: TrainConfig,
    resume: bool = True,
    on_step: OnStudentStep | None = None,
    on_row: OnRow = lambda done, total: None,
    main: bool = True,  # whether this process measures the table
) -> DistillResult:
    """Trains every student of config.distill. Raises TrainingError or an error of lcvd."""
    check_distillable(config)
    assert config.distill is not None
    assert config.model.path is not None
    begin, done = config.model.path, []
    for steps in config.distill.steps:
        callback = None if on_step is None else _for_student(steps, on_step)
        student = student_config(config, steps, begin)
        result = train(student, resume=resume, on_step=callback)
        done.append(result)
        if result.stopped_by is not None:
            return DistillResult(tuple(done), None)
        begin = student.output / WEIGHTS
    if not (main and config.distill.heads):
        return DistillResult(tuple(done), None)
    device = "cuda" if _on_gpu(config) else "cpu"
    teacher = load_lcvd(config.distill.teacher or config.model.path, device)
    students = [load_lcvd(result.output / WEIGHTS, device) for result in done]
    return DistillResult(tuple(done), compare(teacher, students, config.distill, config.data.size, on_row=on_row))


def student_config(
    config: TrainConfig,
    steps: int,
    begin: Path,  # weights it begins as
) -> TrainConfig:
    """Returns the configuration of one student's run.

    σ is drawn from the levels of the teacher's path (of an adversarial student: from its own), no condition is dropped,
    and validation uses the student's own levels.
    """
    given = config.distill
    assert given is not None
    phases = Phases.of(given.sampler, steps, given.teacher_steps)
    levels = phases.levels if given.adversarial is None else phases.sigmas  # of clips in training
    teacher = given.teacher or config.model.path
    latents = config.data.latents_dir or config.output / "latents"  # one for all students
    return config.model_copy(
        update={
            "output": config.output / f"steps-{steps}",
            "model": config.model.model_copy(update={"path": begin}),
            "distill": given.model_copy(update={"steps": (steps,), "teacher": teacher, "heads": 0}),
            "data": config.data.model_copy(update={"latents_dir": latents}),
            "noise": config.noise.model_copy(update={"levels": tuple(levels[:-1].tolist())}),
            "dropout": NO_DROPOUT,
            "validation": config.validation.model_copy(update={"sigmas": tuple(phases.sigmas[:-1].tolist())}),
        }
    )


def check_distillable(config: TrainConfig) -> None:
    """Raises ConfigError where `relight distill` cannot run this configuration."""
    if config.distill is None:
        raise ConfigError("distill: the file has no such table", "training/configs/distill_nano.toml is an example")
    if config.distributed.strategy != "ddp":
        raise ConfigError(
            f"distributed.strategy {config.distributed.strategy}: the target network needs whole weights",
            'set distributed.strategy = "ddp"',
        )


def _for_student(steps: int, on_step: OnStudentStep) -> Callable[[StepReport, float], None]:
    return lambda report, rate: on_step(steps, report, rate)


def _on_gpu(config: TrainConfig) -> bool:
    import torch

    return config.device != "cpu" and torch.cuda.is_available()
