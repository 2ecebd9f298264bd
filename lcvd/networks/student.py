"""Reads a manifest's training notes: whether its weights are a few-step student or know staggered noise. Torch-free."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lcvd.errors import WeightsError
from lcvd.networks.schedule import SamplerName

ABOUT = ("size", "demonstration", "title")  # fields of a manifest that training from these weights inherits
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


def staggered_of(manifest: Mapping[str, Any]) -> bool:
    """Return True if the weights were trained with a noise level for each row, as the staggered mode has them."""
    return manifest.get("staggered") is True
