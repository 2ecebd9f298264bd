"""One Denoiser owns preconditioning, forward and loss, so that training and sampling cannot disagree.

EDM v-prediction as SVD was trained (Karras et al. 2022, Table 1): input x/√(σ² + 1), time 0.25 ln σ,
x0 = x/(σ² + 1) - v σ/√(σ² + 1), loss weight λ = (1 + σ²)/σ². σ is one number a sequence, as published, or one a frame
(Chen et al. 2024, Diffusion Forcing; Ruhe et al. 2024, Rolling Diffusion Models), and with it input scale, time, x0
and λ. The network runs in its own dtype; x, v and the loss are float32. The loss adds the portrait's own term (released
code; the paper's Eq. 4 prints the complement).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lcvd.errors import ShapeError
from lcvd.networks.unet import FeatureUNet

FPS, MOTION_BUCKET, NOISE_AUGMENTATION = 7, 127, 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A Condition holds the network's inputs besides x and σ, for B sequences of F frames."""

    features: Tensor | None  # [B,F,C,h,w] sum of the adapters' features; None adds nothing
    image_embedding: Tensor  # [B,1,D] CLIP's of the reference; zero in the c1 branch
    latents: Tensor  # [B,F,4,h,w] reference latents (unscaled) times 1 - portrait mask
    ids: Tensor  # [B,3] fps - 1, motion bucket, noise augmentation


def micro_condition(
    batch: int,
    fps: int = FPS,
    motion_bucket: float = MOTION_BUCKET,
    noise_augmentation: float = NOISE_AUGMENTATION,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the ids [B,3] of the micro-condition; SVD was trained on fps - 1."""
    row = torch.tensor([float(fps - 1), float(motion_bucket), float(noise_augmentation)], device=device)
    return row.repeat(batch, 1)


class Denoiser(nn.Module):
    """The Denoiser predicts v or the clean latents from x and σ, and computes the training loss."""

    def __init__(self, unet: FeatureUNet) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        x: Tensor,  # [B,F,4,h,w] noisy latents, EDM's space
        sigma: Tensor,  # [B] > 0; [B,F] where every frame has its own
        condition: Condition,
    ) -> Tensor:
        """Return the network's v, float32 [B,F,4,h,w]."""
        v: Tensor = self.unet(*self._inputs(x, sigma, condition))
        return v.float()

    def encoded(self, x: Tensor, sigma: Tensor, condition: Condition) -> list[Tensor]:
        """Return what the network's down blocks and middle give for the same inputs, each [B,F,C_i,h_i,w_i]."""
        return self.unet.encoded(*self._inputs(x, sigma, condition))

    def _inputs(
        self, x: Tensor, sigma: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return the UNet's arguments in its own dtype. Raises ShapeError."""
        if x.shape != condition.latents.shape:
            raise ShapeError(f"x: expected {tuple(condition.latents.shape)}, got {tuple(x.shape)}")
        # conv_in and not the first parameter: an engine may keep other layers in another precision.
        dtype = self.unet.svd.conv_in.weight.dtype
        scaled = x.float() / (_level(sigma, x) ** 2 + 1).sqrt()
        features = condition.features
        return (
            torch.cat([scaled.to(dtype), condition.latents.to(dtype)], dim=2),
            0.25 * sigma.float().log(),
            condition.image_embedding.to(dtype),
            condition.ids,
            None if features is None else features.to(dtype),
        )

    def denoised(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Return the predicted clean latents x0, float32 [B,F,4,h,w]."""
        level = _level(sigma, x)
        v = self(x, sigma, condition)
        return v * (-level / (level**2 + 1).sqrt()) + x.float() / (level**2 + 1)

    def loss(
        self,
        target: Tensor,  # [B,F,4,h,w] clean latents, sample() times the scaling factor
        noise: Tensor,  # [B,F,4,h,w] standard normal
        sigma: Tensor,  # [B] or [B,F]
        condition: Condition,
        portrait: Tensor,  # [B,F,1,h,w] 1 = portrait
        region: Literal["portrait", "background"] = "portrait",
    ) -> Tensor:
        """mean(λ (x0 - target)²) + Σ λ m (x0 - target)² / (4 Σ m); m the portrait or, as Eq. 4 prints, its complement.

        Raises ShapeError. The second term is 0 where the region is empty.
        """
        squares, mask = self._squares(target, noise, sigma, condition, portrait, region)
        # Σ m counts each pixel once while the squares run over the 4 latent channels: hence the 4.
        channels = target.shape[2]
        return squares.mean() + (squares * mask).sum() / (channels * mask.sum()).clamp_min(1e-6)

    def losses(
        self,
        target: Tensor,  # as in `loss`
        noise: Tensor,
        sigma: Tensor,
        condition: Condition,
        portrait: Tensor,
        region: Literal["portrait", "background"] = "portrait",
        rows: Tensor | None = None,  # [B,F] of 0 and 1: frames that count; None: all
    ) -> Tensor:
        """[B,2]: both terms of every sequence by itself, as if `loss` saw it alone, and only the frames that count.

        Their mean does not depend on how sequences are dealt to batches, accumulation and processes. Raises ShapeError.
        """
        squares, mask = self._squares(target, noise, sigma, condition, portrait, region)
        return region_means(squares, mask, rows)

    def _squares(
        self,
        target: Tensor,
        noise: Tensor,
        sigma: Tensor,
        condition: Condition,
        portrait: Tensor,
        region: Literal["portrait", "background"],
    ) -> tuple[Tensor, Tensor]:
        """λ (x0 - target)² [B,F,4,h,w], and the mask of the second term [B,F,1,h,w]."""
        wanted = (*target.shape[:2], 1, *target.shape[3:])
        if tuple(portrait.shape) != wanted:
            raise ShapeError(f"portrait: expected {wanted}, got {tuple(portrait.shape)}")
        level = _level(sigma, target)
        target = target.float()
        x0 = self.denoised(target + noise.float() * level, sigma, condition)
        squares = (1 + level**2) / level**2 * (x0 - target) ** 2
        return squares, portrait.float() if region == "portrait" else 1 - portrait.float()


def region_means(
    errors: Tensor,  # [B,F,C,h,w]
    mask: Tensor,  # [B,F,1,h,w] of 0 and 1
    rows: Tensor | None = None,  # [B,F] of 0 and 1; None: all
) -> Tensor:
    """[B,2]: mean of each sequence's errors over its frames, and over the mask of these frames; 0 where it is empty."""
    channels = errors.shape[2]
    counted = torch.ones_like(errors[:, :, :1]) if rows is None else rows.to(errors)[:, :, None, None, None]
    counted = counted.expand_as(mask)
    sums = [(errors * region).flatten(1).sum(1) for region in (counted, mask * counted)]
    areas = [(channels * region.flatten(1).sum(1)).clamp_min(1e-6) for region in (counted, mask * counted)]
    return torch.stack([total / area for total, area in zip(sums, areas, strict=True)], 1)


def _level(sigma: Tensor, x: Tensor) -> Tensor:
    """σ beside x [B,F,C,h,w]: [B,1,1,1,1] or [B,F,1,1,1]. Raises ShapeError."""
    batch, frames = x.shape[:2]
    if tuple(sigma.shape) not in ((batch,), (batch, frames)):
        raise ShapeError(f"sigma: expected ({batch},) or ({batch}, {frames}), got {tuple(sigma.shape)}")
    return sigma.float().reshape(batch, -1, 1, 1, 1)
