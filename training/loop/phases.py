"""Phases cut the teacher's path from noise to picture into the steps of a few-step student, and give its targets.

Phased consistency (Wang et al. 2024, PCM, Sec. 3): in each phase [s, σ] the student predicts the one x0 from which an
Euler step lands where the teacher's ODE arrives at the phase's end s, from every level of the phase. The student is
then sampled as the live engine samples, without adding noise again (LCM's own sampler does); one phase is a consistency
model (Song et al. 2023; Luo et al. 2023). The targets are deterministic given x, so no loss changes the minimiser.

Boundary. Consistency models ask f(x, σ_min) = x of c_skip(σ) x + c_out(σ) F. EDM with σ_data = 1 (Karras et al. 2022,
Table 1) has c_skip = 1/(σ² + 1), c_out = -σ/√(σ² + 1): at σ = 0 this is 1 and 0, so f(x, 0) = x holds by itself. Hence
the last phase ends at 0 and not at σ_min, nothing is added to the network, and the engine runs a student as any model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcvd.networks.schedule import SamplerName, nested_sigmas

# (x [B,F,4,h,w], σ [B]) -> x0 [B,F,4,h,w]
PredictX0 = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Phases:
    """`steps` phases divide a path of `teacher_steps` levels, which ends at 0.

    Raises ValueError where the steps do not divide the path.
    """

    steps: int
    levels: NDArray[np.float64]  # [teacher_steps + 1] falling, the last one 0

    def __post_init__(self) -> None:
        if self.steps < 1 or (len(self.levels) - 1) % self.steps:
            raise ValueError(f"steps={self.steps}: must divide the teacher's {len(self.levels) - 1} steps")

    @classmethod
    def of(cls, sampler: SamplerName, steps: int, teacher_steps: int) -> "Phases":
        """Builds the phases from the live sampler's levels for `steps` and those the teacher takes between them."""
        return cls(steps, nested_sigmas(sampler, teacher_steps))

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """Returns [steps + 1] the student's own levels, where phases begin; the last one is 0."""
        return self.levels[:: self.length]

    @property
    def length(self) -> int:
        """Returns the teacher steps of one phase."""
        return (len(self.levels) - 1) // self.steps

    def index_of(
        self,
        sigma: Tensor,  # [B]
    ) -> Tensor:
        """Returns [B] the index in `levels` of each σ, the nearest in log σ; never the last, which is 0."""
        levels = torch.from_numpy(self.levels[:-1]).to(sigma.device).log()
        return (sigma.double().log()[:, None] - levels).abs().argmin(1)

    def at(
        self,
        index: Tensor,  # [B] places in `levels`, the last one excluded
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns (σ there, σ one teacher step below, σ of the phase's end), each [B] float64."""
        levels = torch.from_numpy(self.levels).to(index.device)
        return levels[index], levels[index + 1], levels[(index // self.length + 1) * self.length]


def distilled_target(
    x: Tensor,  # [B,F,4,h,w] on the path, at its level
    index: Tensor,  # [B] place of that level
    phases: Phases,
    teacher: PredictX0,  # guided
    target_network: PredictX0,  # the student with averaged weights
) -> Tensor:
    """Returns x0 [B,F,4,h,w] that the student should predict at x, without gradient.

    The teacher takes one Euler step, and the target network predicts from there where the path ends the phase, at s.
    The result is the x0 from which one Euler step from x lands there too: x0 = (y - x s/σ)/(1 - s/σ), the target of
    Salimans & Ho 2022 (App. G). Where the teacher's step ends the phase, the target is the teacher's x0.
    """
    with torch.no_grad():
        sigma, below, end = phases.at(index)
        x0 = teacher(x, sigma)
        moved = landed(x, x0, below / sigma)
        last = below == end
        if not bool(last.all()):
            # At the phase's end σ may be 0: those rows are evaluated at their old level and not used.
            level_below = torch.where(last, sigma, below)
            predicted = target_network(moved, level_below)
            ends = landed(moved, predicted, end / level_below)
            share = _beside(end / sigma, x)
            x0 = torch.where(last.reshape(-1, *[1] * (x.ndim - 1)), x0, (ends - x * share) / (1 - share))
        return x0


def landed(
    x: Tensor,  # [B,F,4,h,w]
    x0: Tensor,  # [B,F,4,h,w]
    ratio: Tensor,  # [B] σ_next/σ
) -> Tensor:
    """Takes the Euler step of `lcvd.networks.schedule.euler_step`, with a level for every sequence."""
    return x0 + (x - x0) * _beside(ratio, x)


def pseudo_huber(
    errors: Tensor,  # [B,n] mean squares
    c: float,
) -> Tensor:
    """Returns √(e² + c²) - c of a whole sequence (Song & Dhariwal 2023, Eq. 7; theirs is √d times ours, c with it)."""
    # Not (e² + c²)^½ - c: float32 would give 0 for every e below c/3000.
    return errors / ((errors + c * c).sqrt() + c)


def _beside(value: Tensor, x: Tensor) -> Tensor:
    """Returns value [B] in x's dtype, shaped to be multiplied with it."""
    return value.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
