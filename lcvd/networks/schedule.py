"""Noise levels and the step between two of them: Euler on EDM (the released code) and DDIM (the paper).

x lives in EDM's space (x = x0 + σ ε). Karras et al. 2022, Eq. 5 gives the release's levels: ρ = 7 from 700 to 0.002,
then 0. The paper names DDIM with 25 steps: on SVD's own discrete schedule (scaled-linear β, 1000 training steps,
`leading` spacing with offset 1, as in its scheduler_config.json) those are other levels, from σ ≈ 13 down; the DDIM
update itself is Euler's in other variables. Few steps have levels of their own, since the published ones waste their
last point (2 steps = [700, 0.002]). Euler: Sabour et al. 2024 (Align Your Steps), the ten-step levels they optimised
for Stable Video Diffusion, resampled linearly in log σ as they advise. DDIM: `trailing` spacing (Lin et al. 2024),
which starts at the noisiest training step. Live sampling and training share these definitions. Torch is not imported:
levels are float64 numpy, and the steps use the methods of the tensors they get.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the command line reads names and levels where torch is not installed
    from torch import Tensor

SamplerName = Literal["euler", "ddim"]
STEPS = (1, 2, 4, 8, 25)  # of the live engine: four few-step schedules, and the published number
SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 700.0, 7.0
TRAIN_STEPS, BETA_START, BETA_END, STEPS_OFFSET = 1000, 0.00085, 0.012, 1


def karras_sigmas(
    steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO
) -> NDArray[np.float64]:
    """Return [steps + 1] levels of Karras et al. 2022, Eq. 5, the last one 0."""
    _check_steps(steps)
    ramp = np.linspace(0.0, 1.0, steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return np.append((high + ramp * (low - high)) ** rho, 0.0)


def ddim_sigmas(steps: int) -> NDArray[np.float64]:
    """[steps + 1] levels √((1 - ᾱ)/ᾱ) of DDIM's evenly spaced training steps, the last one 0 (ᾱ = 1)."""
    _check_steps(steps, TRAIN_STEPS - 1)  # the offset leaves room for one less
    betas = np.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS) ** 2
    alphas_bar = np.cumprod(1.0 - betas)
    taken = (np.arange(steps) * (TRAIN_STEPS // steps))[::-1] + STEPS_OFFSET
    kept = alphas_bar[np.minimum(taken, TRAIN_STEPS - 1)]
    return np.append(np.sqrt((1.0 - kept) / kept), 0.0)


def sigmas_for(sampler: SamplerName, steps: int) -> NDArray[np.float64]:
    """Return a sampler's default levels [steps + 1], the last one 0. Raises ValueError for an unknown name."""
    if sampler == "euler":
        return karras_sigmas(steps)
    if sampler == "ddim":
        return ddim_sigmas(steps)
    raise ValueError(f"sampler: unknown name {sampler!r}; use euler or ddim")


def x0_from_v(x: "Tensor", v: "Tensor", sigma: "float | Tensor") -> "Tensor":
    """EDM v-prediction: x0 = -v σ/√(σ² + 1) + x/(σ² + 1)."""
    return v * (-sigma / (sigma**2 + 1) ** 0.5) + x / (sigma**2 + 1)


def v_from_x0(x: "Tensor", x0: "Tensor", sigma: float) -> "Tensor":
    """Return the v that predicts a known x0; inverse of `x0_from_v`, σ > 0."""
    return (x0 - x / (sigma**2 + 1)) / (-sigma / (sigma**2 + 1) ** 0.5)


def euler_step(x: "Tensor", v: "Tensor", sigma: float, sigma_next: float) -> "Tensor":
    """x + (x - x0)/σ · (σ_next - σ), written x0 + (x - x0) · σ_next/σ: |x| ≈ 700 would cost x0 its last bits."""
    x0 = x0_from_v(x, v, sigma)
    return x0 + (x - x0) * (sigma_next / sigma)


def ddim_step(x: "Tensor", v: "Tensor", sigma: float, sigma_next: float) -> "Tensor":
    """DDIM step (η = 0) in the variables of its definition: z = x/√(σ² + 1), α = 1/√(σ² + 1), s = σ α.

    x0 = α z - s v, ε = s z + α v, z' = α' x0 + s' ε (Song et al. 2021, Eq. 12; v of Salimans & Ho 2022).
    """
    alpha, alpha_next = (sigma**2 + 1) ** -0.5, (sigma_next**2 + 1) ** -0.5
    noise = sigma * alpha
    z = x * alpha
    x0 = alpha * z - noise * v
    epsilon = noise * z + alpha * v
    return (alpha_next * x0 + sigma_next * alpha_next * epsilon) / alpha_next


def step(sampler: SamplerName, x: "Tensor", v: "Tensor", sigma: float, sigma_next: float) -> "Tensor":
    """Take one step of the named sampler."""
    return (ddim_step if sampler == "ddim" else euler_step)(x, v, sigma, sigma_next)


def _check_steps(steps: int, most: int = TRAIN_STEPS) -> None:
    if not 1 <= steps <= most:
        raise ValueError(f"steps: {steps} is outside 1 … {most}")


MANY_STEPS = 20  # from this number on the published levels are used
ALIGNED = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)  # SVD, 10 steps


def few_step_sigmas(sampler: SamplerName, steps: int) -> NDArray[np.float64]:
    """Return [steps + 1] falling levels, the last one 0; from 20 steps on those of `sigmas_for`."""
    return sigmas_for(sampler, steps) if steps >= MANY_STEPS else nested_sigmas(sampler, steps)


def nested_sigmas(sampler: SamplerName, steps: int) -> NDArray[np.float64]:
    """Few-step levels for any number of steps (DDIM: up to 1000): every n-th of n · K levels is one of the K levels."""
    if steps < 1:
        raise ValueError(f"steps: {steps} is below 1")
    if sampler == "ddim":
        if steps > TRAIN_STEPS:
            raise ValueError(f"steps: {steps} is above {TRAIN_STEPS}")
        alphas_bar = np.cumprod(1.0 - np.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS) ** 2)
        taken = np.rint(TRAIN_STEPS * (1 - np.arange(steps) / steps)).astype(int) - 1
        return np.append(np.sqrt((1 - alphas_bar[taken]) / alphas_bar[taken]), 0.0)
    # N steps have N + 1 levels of which the last is 0: resample all, then put 0 for the last.
    places = np.linspace(0, len(ALIGNED) - 1, steps + 1)
    levels = np.exp(np.interp(places, np.arange(len(ALIGNED)), np.log(ALIGNED)))
    levels[-1] = 0.0
    return levels


def initial_levels(levels: int) -> NDArray[np.int_]:
    """[levels + 1] index of each block's noise level before a call: the clean block first, the newest chunk last.

    A block at index i has the i-th level of `few_step_sigmas`; at index `levels` it is clean.
    """
    return np.arange(levels, -1, -1)


def conditioning_sigmas(sampler: SamplerName, levels: int) -> NDArray[np.float64]:
    """[levels + 1] σ that the network is conditioned on at each index; clean rows get SIGMA_MIN, as ln 0 diverges."""
    return np.append(few_step_sigmas(sampler, levels)[:-1], SIGMA_MIN)


def staggered_sigmas(
    sampler: SamplerName,
    levels: int,  # chunks under way
    call: int,  # since the start; from `levels` on all calls are alike
    rows: int,
    chunk: int,
) -> NDArray[np.float64]:
    """[rows] σ that call number `call` of a staggered stream conditions the network on.

    At the start all rows come down together, each until it has reached its initial level (Ruhe et al. 2024,
    Sec. 3.3). Raises ValueError where the chunks under way leave no clean row.
    """
    clean = rows - levels * chunk
    if levels < 1 or chunk < 1 or clean < 1 or call < 0:
        raise ValueError(f"levels={levels}, chunk={chunk}, call={call}: {rows} rows have no room for that")
    places = np.minimum(call, initial_levels(levels))
    return np.repeat(conditioning_sigmas(sampler, levels)[places], [clean, *[chunk] * levels])
