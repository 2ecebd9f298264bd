"""Noise levels where there are few: the live sampler's, and those of every row of the staggered mode.

One definition for who samples live and who trains for it. The published levels waste their last point when there are
few (2 steps = [700, 0.002]). Euler: Sabour et al. 2024 (Align Your Steps), the ten-step levels they optimised for
Stable Video Diffusion, resampled linearly in log σ as they advise. DDIM: `trailing` spacing (Lin et al. 2024), which
starts at the noisiest training step. Torch-free; levels are float64.
"""

import numpy as np
from numpy.typing import NDArray

from lcvd.networks.schedule import BETA_END, BETA_START, SIGMA_MIN, TRAIN_STEPS, SamplerName, sigmas_for

MANY_STEPS = 20  # from here on the published levels serve
ALIGNED = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)  # SVD, 10 steps


def few_step_sigmas(sampler: SamplerName, steps: int) -> NDArray[np.float64]:
    """[steps + 1] levels, falling, the last one 0; from 20 steps on those of `lcvd.networks.schedule`."""
    return sigmas_for(sampler, steps) if steps >= MANY_STEPS else nested_sigmas(sampler, steps)


def nested_sigmas(sampler: SamplerName, steps: int) -> NDArray[np.float64]:
    """The same family at any number of steps (DDIM: up to 1000): of n · K levels every n-th is one of K."""
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


def staggered_rest(levels: int) -> NDArray[np.int_]:
    """[levels + 1] how far each block of rows is before a call: clean ones first, then chunks, the newest last.

    A block at place i has the i-th level of `few_step_sigmas`; at place `levels` it is clean.
    """
    return np.arange(levels, -1, -1)


def told_sigmas(sampler: SamplerName, levels: int) -> NDArray[np.float64]:
    """[levels + 1] what the network is told at each place: a clean row has a level too, and a logarithm."""
    return np.append(few_step_sigmas(sampler, levels)[:-1], SIGMA_MIN)


def staggered_sigmas(
    sampler: SamplerName,
    levels: int,  # chunks under way
    call: int,  # since the start; from `levels` on all calls are alike
    rows: int,
    chunk: int,
) -> NDArray[np.float64]:
    """[rows] the levels that call number `call` of a staggered stream tells the network.

    At the start all rows come down together, each until it is where it belongs (Ruhe et al. 2024, Sec. 3.3). Raises
    ValueError where the chunks under way leave no clean row.
    """
    clean = rows - levels * chunk
    if levels < 1 or chunk < 1 or clean < 1 or call < 0:
        raise ValueError(f"levels={levels}, chunk={chunk}, call={call}: {rows} rows have no room for that")
    places = np.minimum(call, staggered_rest(levels))
    return np.repeat(told_sigmas(sampler, levels)[places], [clean, *[chunk] * levels])
