"""Reads how weights want to be sampled (size, steps, guidance): as their manifest says, or as published. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcvd.networks.guidance import OMEGA
from lcvd.networks.student import student_of
from lcvd.weights.location import served_size, weights_manifest

PUBLISHED_STEPS = 25


@dataclass(frozen=True, slots=True)
class ShippedPlan:
    """The sampling that weights are meant for. A student has its guidance folded in: omega 1."""

    size: int = 512  # px of the pictures they are served at
    steps: int = PUBLISHED_STEPS
    omega: float = OMEGA

    def warning(self, weights: Path | str, omega: float) -> str:
        """Return what is bad about guidance with weights that are meant for none; "" where it is not."""
        if self.omega != 1 or omega == 1:
            return ""
        return f"weights {weights} are made for no guidance: omega {omega:g} exaggerates their light and leaves patches"


def shipped_plan(weights: Path | str) -> ShippedPlan:
    """Return the plan of a weights folder or name, which need not exist. Raises WeightsError for a broken manifest."""
    manifest = weights_manifest(weights)
    steps, omega = shipped_steps(manifest)
    return ShippedPlan(served_size(weights), steps, omega)


def shipped_steps(manifest: Mapping[str, Any]) -> tuple[int, float]:
    """Return (steps, omega) that a manifest asks for, else the published 25 and 4.5. Raises WeightsError."""
    if (student := student_of(manifest)) is not None:
        return student.steps, 1.0
    live = manifest.get("live")
    live = live if isinstance(live, Mapping) else {}
    steps = live.get("steps")
    return (
        steps if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0 else PUBLISHED_STEPS,
        1.0 if live.get("guidance") == "none" else OMEGA,
    )
