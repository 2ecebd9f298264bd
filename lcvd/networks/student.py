"""Reads a manifest's training notes: whether its weights are a few-step student or know staggered noise. Torch-free."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lcvd.errors import WeightsError
from lcvd.networks.schedule import SamplerName

ABOUT = ("size", "demonstration", "title")  # fields of a manifest that training from these weights inherits
TEACHER_STEPS = 25  # of Stable Video Diffusion's own sampler
NOTES = (*ABOUT, "live", "student", "staggered")  # fields that a conversion keeps


@dataclass(frozen=True, slots=True)
class Student:
    """A model distilled to sample in a few steps, its teacher's guidance included: one branch, ω its own.

    It was taught at the levels of `lcvd.networks.schedule.few_step_sigmas(sampler, steps)`. Raises WeightsError.
    """

    omega: float  # of the teacher
    steps: int
    sampler: SamplerName = "euler"

    def __post_init__(self) -> None:
        number = isinstance(self.omega, int | float) and 0 <= self.omega <= 20
        if not number or self.steps not in (1, 2, 4, 8) or self.sampler not in ("euler", "ddim"):
            raise WeightsError(
                f"student: omega {self.omega!r}, steps {self.steps!r}, sampler {self.sampler!r}",
                "omega lies in 0…20, steps are 1, 2, 4 or 8, and the sampler is euler or ddim",
            )


def student_of(manifest: Mapping[str, Any]) -> Student | None:
    """Return the student that a manifest describes, or None. Raises WeightsError."""
    note = manifest.get("student")
    if note is None:
        return None
    if not isinstance(note, Mapping) or not {"omega", "steps"} <= set(note) <= {"omega", "steps", "sampler"}:
        raise WeightsError(f"student: {note!r} in the manifest", "expected omega, steps and perhaps sampler")
    return Student(**note)


def least_steps_of(manifest: Mapping[str, Any]) -> int:
    """Return the fewest steps that weights of this manifest are made for: fewer blur the picture. Raises WeightsError.

    A student has its own number, and so have weights that were trained to be shown live. Stable Video Diffusion without
    a student needs its 25: its FVD is 153 there and 1,687 at 4 (Zhang et al., "SF-V", arXiv 2406.04324, Table 1).
    """
    if (student := student_of(manifest)) is not None:
        return student.steps
    live = manifest.get("live")
    steps = live.get("steps") if isinstance(live, Mapping) else None
    return steps if isinstance(steps, int) and steps > 0 else TEACHER_STEPS


def steps_note(manifest: Mapping[str, Any]) -> str:
    """Return what a card says of steps: for how many the weights are made, and what fewer do. Raises WeightsError."""
    least = least_steps_of(manifest)
    steps = "1 step" if least == 1 else f"{least} steps"
    if student_of(manifest) is not None:
        return f"Steps: a student of {steps}, which every engine takes; its teacher's guidance is in the weights."
    if least < TEACHER_STEPS:
        return f"Steps: trained to be shown live in {steps}."
    return (
        f"Steps: about {least}, as published. These weights are no student of few steps: fewer blur the picture.\n"
        "Stable Video Diffusion, whose sampler this is, has an FVD of 153 at 25 steps and 1,687 at 4; a student\n"
        'distilled for one step reaches 180.9 (Zhang et al., "SF-V", arXiv 2406.04324, Table 1).\n'
        "`relight distill` makes students."
    )


def staggered_of(manifest: Mapping[str, Any]) -> bool:
    """Return True if the weights were trained with a noise level for each row, as the staggered mode has them."""
    return manifest.get("staggered") is True
