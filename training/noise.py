"""Noise levels of training: one a sequence (EDM's lognormal), or one a chunk for the live engine's staggered mode."""

import math

import torch
from torch import Tensor

from lcvd.schedule import SIGMA_MIN
from training.config import NoiseConfig, StaggeredConfig


def draw_sigma(
    noise: NoiseConfig, staggered: StaggeredConfig | None, frames: int, generator: torch.Generator
) -> Tensor:
    """σ of every frame of one sequence, [F] > 0; equal where the sequence is not staggered."""
    drawn = math.exp(noise.p_mean + noise.p_std * _normal(generator))
    sigma = torch.full((frames,), drawn)
    if staggered is None or float(torch.rand((), generator=generator)) >= staggered.share:
        return sigma
    # Rows as the engine has them: the anchor and context nearly clean, then chunks, the newest (noisiest) last.
    levels = torch.tensor(staggered.levels).flip(0)
    levels = levels * torch.exp(staggered.jitter * torch.randn(len(levels), generator=generator))
    rows = levels.repeat_interleave(staggered.chunk)
    sigma[:] = SIGMA_MIN
    sigma[frames - len(rows) :] = rows
    return sigma


def draw_augmentation(noise: NoiseConfig, generator: torch.Generator) -> float:
    """Deviation of the noise on the reference picture, which the network is told."""
    return math.exp(noise.reference_mean + noise.reference_std * _normal(generator))


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((), generator=generator))
