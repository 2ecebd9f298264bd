"""`relight distill`: students of few steps, one after the other, and the table that shows them beside their teacher.

Each student is a run of the trainer in a folder of its own (`steps-4`, `steps-2`, …) and begins as the one before it;
the teacher stays the same. Interrupted, the same call goes on: students that are finished are not trained again.
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

EVERYTHING = DropoutConfig(keep=1.0, all_dropped=0.0, all_kept=1.0, clip=0.0, latent=0.0, both=0.0)
OnStudentStep = Callable[[int, StepReport, float], None]  # (the student's steps, report, steps a second)


@dataclass(frozen=True, slots=True)
class DistillResult:
    """What became of each student, in the order they were taught."""

    students: tuple[TrainResult, ...]
    comparison: Comparison | None  # None: stopped by a signal, no heads asked for, or not the main process

    @property
    def stopped_by(self) -> str | None:
        """Name of the signal that ended the last run."""
        return self.students[-1].stopped_by


def distill(
    config: TrainConfig,
    resume: bool = True,
    on_step: OnStudentStep | None = None,
    on_row: OnRow = lambda done, total: None,
    main: bool = True,  # whether this process measures the table
) -> DistillResult:
    """Teach every student of config.distill. Raises TrainingError or lcvd's errors, all in words."""
    check_distillable(config)
    assert config.distill is not None
    assert config.model.path is not None
    begin, done = config.model.path, []
    for steps in config.distill.steps:
        told = None if on_step is None else _for_student(steps, on_step)
        student = student_config(config, steps, begin)
        result = train(student, resume=resume, on_step=told)
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
    """The run of one student: levels of the teacher's path, every condition given, validated as it will be used."""
    given = config.distill
    assert given is not None
    phases = Phases.of(given.sampler, steps, given.teacher_steps)
    teacher = given.teacher or config.model.path
    latents = config.data.latents_dir or config.output / "latents"  # one for all students
    return config.model_copy(
        update={
            "output": config.output / f"steps-{steps}",
            "model": config.model.model_copy(update={"path": begin}),
            "distill": given.model_copy(update={"steps": (steps,), "teacher": teacher, "heads": 0}),
            "data": config.data.model_copy(update={"latents_dir": latents}),
            "noise": config.noise.model_copy(update={"levels": tuple(phases.levels[:-1].tolist())}),
            "dropout": EVERYTHING,
            "validation": config.validation.model_copy(update={"sigmas": tuple(phases.sigmas[:-1].tolist())}),
        }
    )


def check_distillable(config: TrainConfig) -> None:
    """Raises ConfigError for what `relight distill` cannot do."""
    if config.distill is None:
        raise ConfigError("distill: the file has no such table", "training/configs/distill_nano.toml is an example")
    if config.distributed.strategy != "ddp":
        raise ConfigError(
            f"distributed.strategy {config.distributed.strategy}: the follower needs whole weights in every process",
            'set distributed.strategy = "ddp"',
        )


def _for_student(steps: int, on_step: OnStudentStep) -> Callable[[StepReport, float], None]:
    return lambda report, rate: on_step(steps, report, rate)


def _on_gpu(config: TrainConfig) -> bool:
    import torch

    return config.device != "cpu" and torch.cuda.is_available()
