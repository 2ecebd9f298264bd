"""Discriminator: the frozen encoder of the teacher's UNet under trained heads, each with its own hinge loss and R1.

The encoder (down and middle blocks, adapters) sees a clip with fresh noise on it and every condition of the student's,
so that the heads can hold the light in the clip against the hint. Noise levels are lognormal: small ones show detail,
large ones the whole, and their balance decides the result (Zhang et al. 2024, SF-V).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lcvd.networks.precond import Denoiser
from training.adversarial.heads import Heads
from training.adversarial.losses import gradient_penalty, hinge_discriminator


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Holds what the encoder saw of real and generated clips, detached, for the discriminator's own step."""

    real: list[Tensor]  # [B,F,C_i,h_i,w_i]
    fake: list[Tensor]
    embedding: Tensor  # [B,1,D]


class Discriminator(nn.Module):
    """Holds the heads; its forward is their loss, so that a DDP wrapper sees one call for each backward pass."""

    def __init__(self, heads: Heads, r1: float) -> None:
        super().__init__()
        self.heads, self._r1 = heads, r1

    def forward(self, real: Sequence[Tensor], fake: Sequence[Tensor], embedding: Tensor) -> Tensor:
        """Returns [5]: loss, hinge loss, R1, mean logit of real clips, mean logit of generated ones."""
        if self._r1 > 0:
            real = [level.detach().requires_grad_(True) for level in real]
        # float32, because a mixed-precision run has the heads in half precision.
        on_real, on_fake = ([logits.float() for logits in self.heads(each, embedding)] for each in (real, fake))
        hinge = hinge_discriminator(on_real, on_fake)
        penalty = hinge.new_zeros(())
        if self._r1 > 0:
            penalty = gradient_penalty(on_real, [*real, *real])
        means = [torch.stack([logits.mean() for logits in each]).mean().detach() for each in (on_real, on_fake)]
        return torch.stack([hinge + 0.5 * self._r1 * penalty, hinge.detach(), penalty.detach(), *means])


def encoder_channels(denoiser: Denoiser) -> list[int]:
    """Returns the channels of each level that `Denoiser.encoded` gives."""
    channels = [int(each) for each in denoiser.unet.svd.config["block_out_channels"]]
    return [*channels, channels[-1]]


def noised(
    x0: Tensor,  # [B,F,4,h,w]
    noise: Tensor,  # [B,F,4,h,w] standard normal
    sigma: Tensor,  # [B]
) -> Tensor:
    """Returns x0 + σ ε."""
    return x0 + noise * sigma.to(x0).reshape(-1, 1, 1, 1, 1)


def lognormal(
    p_mean: float,
    p_std: float,
    generator: torch.Generator,
) -> float:
    """Draws σ = exp(N(p_mean, p_std))."""
    return math.exp(p_mean + p_std * float(torch.randn((), generator=generator)))
