"""Noise → clean latents of one rolling window in a few steps, causally: what is known is pinned at every step.

The live twin of `lcvd.sampling`, with the levels of `few_step_sigmas`. `Predict` is all it knows of the network.

Pinning alone leaves a seam: the network's σ is one number for all rows, so it trusts a known frame as little as a noisy
one, and new rows settle elsewhere before they hear of it. Where a frame is known, so is the network's error in x0;
frames hang together in time, so its neighbours err alike. With residuals of covariance s²ρ^|i-j| the best estimate is
linear (Gaussian conditioning of the posterior at σ; guidance by a pseudo-inverse, Song et al. 2023, without gradients).
ρ and s are ours, not fitted to LCVD: chosen on toy priors from ρ = 0.8 to 0.995
(tests/engine/diffusion/test_sampler.py). A real network also errs alike in every window: the rows of a window are not
alike to it, and its x0 at high σ lacks what later steps add. That is no error of this frame, and handed on from window
to window it would grow; so its running mean is taken out first (`MeanError`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcvd.networks.guidance import OMEGA, guided
from lcvd.networks.schedule import STEPS, SamplerName, few_step_sigmas, step, v_from_x0, x0_from_v
from lcvd.networks.student import Student

# (x [F,4,h,w], σ) -> (v1 or None with one branch, v2), each [F,4,h,w]
Predict = Callable[[Tensor, Any], tuple[Tensor | None, Tensor]]
GuidanceName = Literal["guided", "none", "student"]
JoinName = Literal["correct", "pin"]

GUIDANCES = ("guided", "none", "student")


@dataclass(frozen=True, slots=True)
class SamplerPlan:
    """Says how a window is denoised. ValueError names the legal values.

    guidance "guided": Eq. 6, both branches in one batch. "none": ω is 1, so one branch is enough. "student": one
    branch, of a model into which the guidance was distilled; ω is its own and not used here. join "pin" is the
    released hook alone; "correct" also applies the context correction to the new rows (`_context_corrected`).
    """

    steps: int = 4
    sampler: SamplerName = "euler"
    guidance: GuidanceName = "guided"
    omega: float = OMEGA
    join: JoinName = "correct"

    def __post_init__(self) -> None:
        if self.steps not in STEPS:
            raise ValueError(f"steps={self.steps}: use one of {', '.join(map(str, STEPS))}")
        if self.sampler not in ("euler", "ddim"):
            raise ValueError(f"sampler={self.sampler!r}: use euler or ddim")
        if self.guidance not in GUIDANCES:
            raise ValueError(f"guidance={self.guidance!r}: use one of {', '.join(GUIDANCES)}")
        if self.join not in ("correct", "pin"):
            raise ValueError(f"join={self.join!r}: use correct or pin")
        if not 0 <= self.omega <= 20:
            raise ValueError(f"omega={self.omega}: must lie in 0 … 20; the paper studies 2 … 8")

    @classmethod
    def of_weights(cls, student: Student | None, live: Mapping[str, Any] | None = None) -> "SamplerPlan":
        """The plan weights ask for: a student's own steps and levels, one branch; else the defaults.

        `live` is what a manifest wants to start with, of steps and guidance; a small model knows what it can.
        """
        if student is not None:
            return cls(student.steps, student.sampler, "student", student.omega)
        wanted = live or {}
        return replace(cls(), **{name: wanted[name] for name in ("steps", "guidance") if name in wanted})

    def asked(self, steps: int | None, omega: float | None) -> "SamplerPlan":
        """With what a participant asked for; None leaves it. A student keeps what it was taught. Raises ValueError."""
        changed = replace(
            self, steps=self.steps if steps is None else steps, omega=self.omega if omega is None else omega
        )
        return self if self.guidance == "student" else changed

    @property
    def branches(self) -> int:
        """Predictions a step: 2 with guidance."""
        return 2 if self.guidance == "guided" and self.omega != 1 else 1

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """[steps + 1] levels, falling, the last one 0."""
        return few_step_sigmas(self.sampler, self.steps)


class Denoising(Protocol):
    """The rows of one window on their way from noise to clean latents. Its caller owns the network."""

    def input(self) -> tuple[Tensor, float | NDArray[np.float64]]:
        """(x [F,4,h,w], σ of all rows or [F]) that the network is to predict from."""

    def advance(self, v1: Tensor | None, v2: Tensor) -> Tensor | None:
        """Go one step down by the prediction (v1 None with one branch); clean latents [F,4,h,w] after the last."""


class MeanError:
    """The running mean of the network's errors on context rows, one for each step of a window; one a stream."""

    def __init__(self) -> None:
        self._means: dict[int, tuple[Tensor, int]] = {}  # step → mean [n,4,h,w], windows counted

    def taken_out(self, step: int, error: Tensor) -> Tensor:
        """Count `error` [n,4,h,w] of a window's step and return what is left of it without the mean so far."""
        mean, count = self._means.get(step, (error, 0))
        count += 1
        self._means[step] = mean + (error - mean) / min(count, MEAN_WINDOWS), count
        return error - mean


class WindowDenoising:
    """Denoising of a rolling window: all rows at one level, known ones pinned. Known rows come back as they were."""

    def __init__(
        self,
        noise: Tensor,  # [F,4,h,w] standard normal, of these frames of the clip
        plan: SamplerPlan,
        known: Tensor | None = None,  # [n < F,4,h,w] clean latents of rows 0 … n - 1: anchor and context
        mean_error: MeanError | None = None,  # of the windows before; None takes out nothing
    ) -> None:
        sigmas = [float(sigma) for sigma in plan.sigmas]
        x = noise * (sigmas[0] ** 2 + 1) ** 0.5
        if known is not None:
            known = known.to(x)
            # Where a known frame is at this level. The release leaves x0 out, which only σ = 700 forgives.
            x = torch.cat([known + sigmas[0] * noise[: len(known)], x[len(known) :]])
        self._plan, self._known, self._x, self._mean_error = plan, known, x, mean_error
        self._levels, self._step = list(pairwise(sigmas)), 0  # (σ, the next one) of every step
        self._omega = torch.tensor(plan.omega, device=noise.device)  # a copy at every step would wait for the device

    def input(self) -> tuple[Tensor, float]:
        """See Denoising."""
        return self._x, self._levels[self._step][0]

    def advance(self, v1: Tensor | None, v2: Tensor) -> Tensor | None:
        """See Denoising."""
        x, known, (sigma, sigma_next) = self._x, self._known, self._levels[self._step]
        v = v2 if v1 is None else guided(v1, v2, self._omega)
        if known is not None:
            if self._plan.join == "correct":
                v = self._context_corrected(x, v, sigma, known)
            # The released hook (`KnownFrames` of lcvd.sampling), all rows at once: 12 rows one by one are 100 launches.
            v = torch.cat([v_from_x0(x[: len(known)], known, sigma), v[len(known) :]])
        self._x = step(self._plan.sampler, x, v, sigma, sigma_next)
        self._step += 1
        return self._x if self._step == len(self._levels) else None

    def _context_corrected(self, x: Tensor, v: Tensor, sigma: float, known: Tensor) -> Tensor:
        """Correct v's new rows by the error seen in the context rows; the anchor is another picture and has no say."""
        n = len(known)
        if n < 2:
            return v
        x0 = x0_from_v(x, v, sigma)
        error = known[1:] - x0[1:n]
        if self._mean_error is not None:
            error = self._mean_error.taken_out(self._step, error)
        gain = _gain_on_device(n - 1, len(x) - n, sigma, x0.dtype, x0.device)
        new = x0[n:] + torch.einsum("fk,kchw->fchw", gain, error)
        return torch.cat([v[:n], v_from_x0(x[n:], new, sigma)])


def denoise(predict: Predict, denoising: Denoising) -> Tensor:
    """Drive `denoising` to its end with a network at hand: clean scaled latents [F,4,h,w]."""
    while True:
        latents = denoising.advance(*predict(*denoising.input()))
        if latents is not None:
            return latents


def denoise_window(
    predict: Predict,
    noise: Tensor,  # [F,4,h,w]
    plan: SamplerPlan,
    known: Tensor | None = None,  # [n < F,4,h,w]
    mean_error: MeanError | None = None,
) -> Tensor:
    """Denoise one rolling window: clean scaled latents [F,4,h,w]."""
    return denoise(predict, WindowDenoising(noise, plan, known, mean_error))


@lru_cache(maxsize=256)
def _gain_on_device(context: int, new: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return `correction_gain` on the device, kept there as the backends keep σ."""
    return torch.from_numpy(correction_gain(context, new, sigma)).to(device, dtype)


RHO = 0.97  # from frame to frame
SPREAD = 0.3  # of scaled latents around what the conditions say
MEAN_WINDOWS = 24  # memory of the mean error, in windows
FLOOR = 1e-9  # of the variance of a known frame: it is known, but matrices are inverted


@lru_cache(maxsize=256)
def correction_gain(context: int, new: int, sigma: float) -> NDArray[np.float64]:
    """[new, context]: the correction of new rows' x0 = gain @ (known - predicted x0 of the context rows)."""
    rows = np.arange(context + new)
    prior = SPREAD**2 * RHO ** np.abs(rows[:, None] - rows)
    posterior = prior - prior @ np.linalg.solve(prior + sigma**2 * np.eye(len(rows)), prior)
    known = posterior[:context, :context]
    return posterior[context:, :context] @ np.linalg.inv(known + FLOOR * np.eye(context))
