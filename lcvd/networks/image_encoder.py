"""The reference portrait becomes CLIP's image embedding, the one token of every cross-attention.

SVD's way of getting to 224 pixels: in [-1,1], a Gaussian whose width is half of what the reduction removes
(σ = (factor - 1)/2, support 4σ, reflected border), then bicubic with corners aligned; only then [0,1] and CLIP's mean
and deviation. The encoder gets the whole portrait, unmasked.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lcvd.errors import ShapeError

SIZE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def resize_antialiased(
    pixels: Tensor,  # [N,C,H,W]
    size: tuple[int, int] = (SIZE, SIZE),
) -> Tensor:
    """Resize with a Gaussian against aliasing, then bicubic with aligned corners: float32 [N,C,*size]."""
    if pixels.ndim != 4:
        raise ShapeError(f"pixels: expected [N,C,H,W], got {tuple(pixels.shape)}")
    pixels = pixels.float()
    for dim, target in ((2, size[0]), (3, size[1])):
        sigma = max((pixels.shape[dim] / target - 1.0) / 2.0, 0.001)
        pixels = _blur(pixels, dim, sigma)
    return F.interpolate(pixels, size=size, mode="bicubic", align_corners=True)


def _blur(pixels: Tensor, dim: int, sigma: float) -> Tensor:
    """Blur in one separable pass along dim 2 or 3 with a reflected border."""
    taps = int(max(4.0 * sigma, 3)) | 1
    offsets = torch.arange(taps, device=pixels.device, dtype=pixels.dtype) - taps // 2
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    half = taps // 2
    channels = pixels.shape[1]
    shape, pad = ((taps, 1), (0, 0, half, half)) if dim == 2 else ((1, taps), (half, half, 0, 0))
    weight = kernel.reshape(1, 1, *shape).expand(channels, 1, *shape)
    return F.conv2d(F.pad(pixels, pad, mode="reflect"), weight, groups=channels)


def encoder_pixels(
    rgb: Tensor,  # [N,3,H,W] in [-1,1]
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Tensor:
    """Preprocess pictures for the image encoder: float32 [N,3,224,224]."""
    small = (resize_antialiased(rgb) + 1.0) / 2.0
    centre = torch.tensor(mean, device=small.device).reshape(1, 3, 1, 1)
    return (small - centre) / torch.tensor(std, device=small.device).reshape(1, 3, 1, 1)


def embed_image(
    encoder: Any,
    rgb: Tensor,  # [N,3,H,W] in [-1,1]
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Tensor:
    """Return image_embeds of a CLIPVisionModelWithProjection, float32 [N,1,D]."""
    place = next(encoder.parameters())
    return encoder(encoder_pixels(rgb, mean, std).to(place)).image_embeds.float().unsqueeze(1)
