"""Noise levels of training: one a sequence (EDM's lognormal), or one a chunk for the live engine's staggered mode."""

import math

import torch
from torch import Tensor

from lcvd.networks.schedule import SIGMA_MIN, staggered_sigmas
from training.config import NoiseConfig, StaggeredConfig


def draw_sigma(
    noise: NoiseConfig, staggered: StaggeredConfig | None, frames: int, generator: torch.Generator
) -> Tensor:
    """σ of every frame of one sequence, [F] > 0; equal where the sequence is not staggered."""
    if noise.levels:
        drawn = noise.levels[int(torch.randint(len(noise.levels), (), generator=generator))]
    else:
        drawn = math.exp(noise.p_mean + noise.p_std * _normal(generator))
    sigma = torch.full((frames,), drawn)
    if staggered is None or float(torch.rand((), generator=generator)) >= staggered.share:
        return sigma
    if staggered.steps:
        return _live_rows(staggered, frames, generator)
    # Rows as the engine has them: the anchor and context nearly clean, then chunks, the newest (noisiest) last.
    levels = torch.tensor(staggered.levels).flip(0)
    levels = levels * torch.exp(staggered.jitter * torch.randn(len(levels), generator=generator))
    rows = levels.repeat_interleave(staggered.chunk)
    sigma[:] = SIGMA_MIN
    sigma[frames - len(rows) :] = rows
    return sigma


def counted_rows(
    sigma: Tensor,  # [F]
) -> Tensor:
    """[F] of 0 and 1: rows that a loss may speak of. A clean row beside noisy ones has nothing left to be predicted."""
    clean = sigma <= SIGMA_MIN
    return (~clean).float() if bool((~clean).any()) else torch.ones_like(sigma)


def _live_rows(staggered: StaggeredConfig, frames: int, generator: torch.Generator) -> Tensor:
    """The rows of one call of a live stream: half of them under way, half from the start-up, where there is one."""
    levels = staggered.steps[int(torch.randint(len(staggered.steps), (), generator=generator))]
    starting = bool(torch.rand((), generator=generator) < 0.5)
    call = int(torch.randint(levels, (), generator=generator)) if starting else levels
    rows = torch.from_numpy(staggered_sigmas(staggered.sampler, levels, call, frames, staggered.chunk)).float()
    # One factor for each level, so that rows of one level stay so; clean ones keep theirs.
    for level in rows.unique(sorted=True).flip(0):
        factor = math.exp(staggered.jitter * _normal(generator))
        if level > SIGMA_MIN:
            rows[rows == level] = level * factor
    return rows


def draw_augmentation(noise: NoiseConfig, generator: torch.Generator) -> float:
    """Deviation of the noise on the reference picture, which the network is told."""
    return math.exp(noise.reference_mean + noise.reference_std * _normal(generator))


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((), generator=generator))
