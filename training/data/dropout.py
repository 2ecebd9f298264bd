"""Condition dropout (LCVD, Guo et al.

2025: α, β ∈ {0, 1}) drops conditions at random, so that guidance can learn c1.
"""

from dataclasses import dataclass

import torch

from training.config import DropoutConfig


@dataclass(frozen=True, slots=True)
class ConditionMask:
    """Each field is 1 where the condition is kept and 0 where it is dropped."""

    shading: float
    reference: float
    clip: float
    latent: float


def draw_condition_mask(config: DropoutConfig, generator: torch.Generator) -> ConditionMask:
    """Draws one sequence's mask. It always takes four numbers of the generator, whatever they decide."""
    u_all, u_shading, u_reference, u_image = torch.rand(4, generator=generator).tolist()
    if u_all < config.all_dropped:
        shading = reference = 0.0
    elif u_all < config.all_dropped + config.all_kept:
        shading = reference = 1.0
    else:
        shading, reference = float(u_shading < config.keep), float(u_reference < config.keep)
    # [both | clip only | latent only | neither]
    no_clip = u_image < config.clip
    no_latent = u_image < config.both or config.clip <= u_image < config.clip + config.latent - config.both
    return ConditionMask(shading, reference, float(not no_clip), float(not no_latent))
