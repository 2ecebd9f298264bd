"""Pixels and latents: sd-vae-ft-mse frame by frame, as published; SVD's temporal decoder or TAESD on request.

The reference is encoded from a slightly noisy picture, by the posterior's mode and *without* the scaling factor;
everything the network denoises is scaled by 0.18215. Decoding runs in batches, so its memory does not grow with the
clip. In fp16 the encoder stays in fp32: the published VAE overflows there (`force_upcast`).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lcvd.errors import ShapeError

SCALING = 0.18215
DECODE_BATCH = 4  # frames decoded at once


def place_vae(vae: Any, device: torch.device | str, dtype: torch.dtype) -> Any:
    """Move a VAE; its encoder keeps fp32 where fp16 is asked for. Returns it."""
    nn.Module.to(vae, device=device)
    for name, module in vae.named_children():
        # Cast once, not down and up again: the encoder would come back rounded.
        keep = dtype == torch.float16 and name in ("encoder", "quant_conv")
        module.to(dtype=torch.float32 if keep else dtype)
    return vae.eval().requires_grad_(False)


def _encode(vae: Any, rgb: Tensor) -> Any:
    if rgb.ndim != 4 or rgb.shape[1] != 3 or rgb.shape[2] % 8 or rgb.shape[3] % 8:
        raise ShapeError(f"rgb: expected [N,3,H,W] with H and W multiples of 8, got {tuple(rgb.shape)}")
    return vae.encode(rgb.to(_place(vae.encoder))).latent_dist


def reference_latents(
    vae: Any,
    rgb: Tensor,  # [1,3,H,W] in [-1,1]
    noise: Tensor | None = None,  # [1,3,H,W] standard normal, in pixel space
    augmentation: float = 0.02,
) -> Tensor:
    """Return condition latents of the reference, float32 [1,4,h,w]: mode of the posterior, not scaled."""
    if noise is not None:
        rgb = rgb + augmentation * noise.to(rgb)
    return _encode(vae, rgb).mode().float()


def latents_from_rgb(
    vae: Any,
    rgb: Tensor,  # [N,3,H,W] in [-1,1]
    generator: torch.Generator | None = None,
) -> Tensor:
    """Latents to denoise, float32 [N,4,h,w]: a sample of the posterior (its mode without a generator) times 0.18215."""
    posterior = _encode(vae, rgb)
    latents = posterior.mode() if generator is None else posterior.sample(generator)
    return latents.float() * _scaling(vae)


def rgb_from_latents(
    vae: Any,
    latents: Tensor,  # [N,4,h,w] scaled
) -> Tensor:
    """Decode to pictures in [0,1], float32 [N,3,H,W]: decode(latents/0.18215)/2 + 0.5, clamped.

    A temporal decoder takes the N frames as one clip; an image VAE takes them as a batch. TAESD takes latents as the
    denoiser leaves them: its scaling factor is 1.
    """
    if latents.ndim != 4 or latents.shape[1] != 4:
        raise ShapeError(f"latents: expected [N,4,h,w], got {tuple(latents.shape)}")
    # No attribute names the class: the temporal decoder and TAESD lack post_quant_conv, and TAESD has latent_magnitude.
    temporal = not hasattr(vae, "post_quant_conv") and "latent_magnitude" not in vae.config
    scaled = (latents.float() / _scaling(vae)).to(_place(vae.decoder))
    kwargs = {"num_frames": latents.shape[0]} if temporal else {}
    decoded = vae.decode(scaled, **kwargs).sample
    return (decoded.float() / 2 + 0.5).clamp(0.0, 1.0)


def decode_batches(
    vae: Any,
    latents: Tensor,  # [N,4,h,w] scaled, on any device
    batch: int = DECODE_BATCH,
) -> Iterator[Tensor]:
    """Yield pictures [n ≤ batch,3,H,W] in [0,1], in order, on the VAE's device."""
    for start in range(0, latents.shape[0], batch):
        yield rgb_from_latents(vae, latents[start : start + batch])


def _scaling(vae: Any) -> float:
    return float(vae.config.scaling_factor)


def _place(module: nn.Module) -> Tensor:
    """Return a parameter; inputs must have its device and dtype."""
    return next(module.parameters())
