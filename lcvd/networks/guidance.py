"""Classifier-free guidance: the conditions of the two predictions and their combination v1 + ω (v2 - v1) (Eq. 6).

c2 is the full condition and c1 what is held back from guidance, so ω strengthens exactly what c2 has and c1 lacks: in
relighting, the shading. The masked reference latents and the micro-condition stay in both. ω may differ per frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # omega_per_frame also runs where torch is not installed
    from torch import Tensor

    from lcvd.networks.adapters import ConditionName

ModeName = Literal["relight", "landmark", "animate"]
OMEGA = 4.5  # the released inference script's
OMEGA_RAMP = (1.0, 3.0)  # the released pipeline's own default; the anchor gets the largest


@dataclass(frozen=True, slots=True)
class GuidanceMode:
    """The conditions of the two branches; CLIP's embedding is always zero in c1."""

    c2: "tuple[ConditionName, ...]"
    c1: "tuple[ConditionName, ...]"


MODES: dict[ModeName, GuidanceMode] = {
    "relight": GuidanceMode(c2=("shading", "reference"), c1=("reference",)),
    "landmark": GuidanceMode(c2=("landmarks", "reference"), c1=()),
    "animate": GuidanceMode(c2=("shading", "reference"), c1=()),
}


def guided(
    v1: "Tensor",  # [F,4,h,w]
    v2: "Tensor",  # [F,4,h,w]
    omega: "Tensor",  # [F], or a scalar tensor
) -> "Tensor":
    """Return v1 + ω (v2 - v1), Eq. 6; at ω = 1 it is v2 itself, bit for bit."""
    weight = omega.to(v1).reshape(-1, 1, 1, 1)
    # torch.lerp switches to v2 - (v2 - v1)(1 - ω) from ω = 0.5 on: the same function, exact at ω = 1.
    return v1.lerp(v2, weight)


def omega_per_frame(omega: float | tuple[float, float] | Sequence[float], frames: int) -> NDArray[np.float64]:
    """[frames] guidance weights, anchor included: one number; (low, high), a ramp falling from high at the anchor;
    or a number for every frame. Raises ValueError."""
    values = np.asarray(omega, np.float64)
    if values.ndim == 0:
        values = np.full(frames, float(values))
    elif isinstance(omega, tuple) and len(omega) == 2:
        values = np.linspace(omega[0], omega[1], frames)[::-1].copy()
    if values.shape != (frames,) or not np.isfinite(values).all():
        raise ValueError(f"omega: give a number, (low, high) or {frames} finite numbers; got {omega!r}")
    return values
