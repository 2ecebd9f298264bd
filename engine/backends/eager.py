"""LCVD's networks as they are, op by op: the reference every faster backend is compared with.

Pictures uint8 in, latents and features on the model's device between, pictures uint8 out. Latents are float32, features
and CLIP in the model's dtype. Relighting mode (Eq. 6): c2 = shading + reference + CLIP, c1 = reference, CLIP zeroed.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcvd.clip_image import clip_embedding
from lcvd.conditions import channels_first, joined, latent_mask
from lcvd.model import LcvdModel
from lcvd.precond import NOISE_AUGMENTATION, Condition, micro_condition
from lcvd.vae import CHUNK, decode_chunks, reference_latents


@dataclass(frozen=True, slots=True, eq=False)
class EncodedReference:
    """All the network is told of the portrait; computed once for each."""

    features: Tensor  # [1,C,h,w] of the reference adapter
    clip: Tensor  # [1,1,D]
    latents: Tensor  # [1,4,h,w] condition latents, times 1 - mask


class EagerBackend:
    """Backend (protocol). Holds weights and no participant; call it under `torch.inference_mode()`, from one thread."""

    name = "eager"
    chunk = CHUNK  # frames decoded at once

    def __init__(self, model: LcvdModel) -> None:
        self.model = model
        self.device = model.device
        self._denoiser = model.denoiser

    def encode(
        self,
        rgb: NDArray[np.uint8],  # [S,S,3], S a multiple of 8
        mask: NDArray[np.generic],  # [S,S] in [0,1], 1 = portrait
        noise: Tensor,  # [1,3,S,S] standard normal: the reference's augmentation
    ) -> EncodedReference:
        """What stays the same for every window of a portrait."""
        model = self.model
        pixels = torch.from_numpy(channels_first("reference", rgb).astype(np.float32))[None] / 127.5 - 1.0
        pixels = pixels.to(model.device)
        latents = reference_latents(model.vae, pixels, noise, NOISE_AUGMENTATION)
        keep = 1.0 - latent_mask(mask, (latents.shape[2], latents.shape[3])).to(latents)
        return EncodedReference(
            features=model.adapters.features("reference", pixels[:, None].to(model.dtype))[:, 0],
            clip=clip_embedding(model.image_encoder, pixels, model.clip_mean, model.clip_std),
            latents=latents * keep,
        )

    def features(
        self,
        hints: NDArray[np.uint8],  # [n,S,S,3]
    ) -> Tensor:
        """Shading features [n,C,h,w]; per frame, so they may be kept with the frame."""
        stack = np.ascontiguousarray(np.moveaxis(hints, -1, 1))
        pixels = torch.from_numpy(stack).to(self.device).float() / 255.0
        return self.model.adapters.features("shading", pixels[None].to(self.model.dtype))[0]

    def denoise(
        self,
        x: Tensor,  # [F,4,h,w] noisy latents, EDM's space
        sigma: float,
        reference: EncodedReference,
        features: Tensor,  # [F,C,h,w] of the hints
        branches: int,  # 2: v1 and v2 in one batch; 1: v2 alone
    ) -> tuple[Tensor | None, Tensor]:
        """(v1, v2) float32 [F,4,h,w]; v1 None with one branch."""
        frames = len(x)
        ids = micro_condition(1, device=self.device)
        latents = reference.latents[None].expand(-1, frames, -1, -1, -1)
        held = reference.features[None].expand(-1, frames, -1, -1, -1)
        c2 = Condition(held + features[None], reference.clip, latents, ids)
        if branches == 1:
            return None, self._v(x[None], sigma, c2)[0]
        c1 = Condition(held, torch.zeros_like(reference.clip), latents, ids)
        v1, v2 = self._v(x.expand(2, -1, -1, -1, -1), sigma, joined(c1, c2))
        return v1, v2

    def decode(
        self,
        latents: Tensor,  # [n,4,h,w] scaled, clean
    ) -> NDArray[np.uint8]:
        """Pictures [n,S,S,3], on the host."""
        pictures = torch.cat(list(self._decode(latents)))
        return (pictures * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def warmup(self, size: int, frames: int, fresh: int, branches: int) -> None:
        """Run every stage once at the shapes to come."""
        with torch.inference_mode():
            black = np.zeros((size, size, 3), np.uint8)
            reference = self.encode(black, np.ones((size, size), np.float32), torch.zeros(1, 3, size, size))
            features = self.features(black[None].repeat(fresh, 0))
            x = torch.zeros(frames, 4, size // 8, size // 8, device=self.device)
            self.denoise(x, 1.0, reference, features[:1].expand(frames, -1, -1, -1), branches)
            self.decode(x[:fresh])

    def _v(self, x: Tensor, sigma: float, condition: Condition) -> Tensor:
        return self._denoiser(x, _level(sigma, len(x), self.device), condition)

    def _decode(self, latents: Tensor) -> list[Tensor]:
        return list(decode_chunks(self.model.vae, latents, self.chunk))


@lru_cache(maxsize=256)
def _level(sigma: float, batch: int, device: torch.device) -> Tensor:
    """σ on the device, kept: copying it at every step would wait for the device."""
    return torch.full((batch,), sigma, device=device)
