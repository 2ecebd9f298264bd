"""This module draws the noise levels of training: one a sequence (EDM's lognormal), or one a chunk (staggered mode)."""

import math

import torch
from torch import Tensor

from lcvd.networks.schedule import SIGMA_MIN, staggered_sigmas
from training.config import NoiseConfig, StaggeredConfig


def draw_sigma(
    noise: NoiseConfig, staggered: StaggeredConfig | None, frames: int, generator: torch.Generator
) -> Tensor:
    """Draws σ of every frame of one sequence, [F] > 0; all are equal where the sequence is not staggered."""
    if noise.levels:
        drawn = noise.levels[int(torch.randint(len(noise.levels), (), generator=generator))]
    else:
        drawn = math.exp(noise.p_mean + noise.p_std * _normal(generator))
    sigma = torch.full((frames,), drawn)
    if staggered is None or float(torch.rand((), generator=generator)) >= staggered.share:
        return sigma
    if staggered.steps:
        return _live_rows(staggered, frames, generator)
    # The engine's order: anchor and context nearly clean, then the chunks, the newest (noisiest) last.
    levels = torch.tensor(staggered.levels).flip(0)
    levels = levels * torch.exp(staggered.jitter * torch.randn(len(levels), generator=generator))
    rows = levels.repeat_interleave(staggered.chunk)
    sigma[:] = SIGMA_MIN
    sigma[frames - len(rows) :] = rows
    return sigma


def counted_rows(
    sigma: Tensor,  # [F]
) -> Tensor:
    """Returns [F] of 0 and 1: the rows that are in the loss.

    A clean row beside noisy ones is left out, because nothing of it remains to be predicted.
    """
    clean = sigma <= SIGMA_MIN
    return (~clean).float() if bool((~clean).any()) else torch.ones_like(sigma)


def _live_rows(staggered: StaggeredConfig, frames: int, generator: torch.Generator) -> Tensor:
    """Draws the levels of one call of a live stream.

    Half of the draws are from its steady state, half from its start-up where there is one.
    """
    levels = staggered.steps[int(torch.randint(len(staggered.steps), (), generator=generator))]
    starting = bool(torch.rand((), generator=generator) < 0.5)
    call = int(torch.randint(levels, (), generator=generator)) if starting else levels
    rows = torch.from_numpy(staggered_sigmas(staggered.sampler, levels, call, frames, staggered.chunk)).float()
    # One factor for each level, so that rows of one level stay equal; clean rows are not scaled.
    for level in rows.unique(sorted=True).flip(0):
        factor = math.exp(staggered.jitter * _normal(generator))
        if level > SIGMA_MIN:
            rows[rows == level] = level * factor
    return rows


def draw_augmentation(noise: NoiseConfig, generator: torch.Generator) -> float:
    """Draws the deviation of the noise on the reference picture, which the network gets as a micro-condition."""
    return math.exp(noise.reference_mean + noise.reference_std * _normal(generator))


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((), generator=generator))
