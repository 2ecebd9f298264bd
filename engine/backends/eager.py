"""LCVD's networks as they are, op by op: the reference every faster backend is compared with.

Pictures uint8 in, latents and features on the model's device between, pictures uint8 out. Latents are float32, features
and CLIP in the model's dtype. Relighting mode (Eq. 6): c2 = shading + reference + CLIP, c1 = reference, CLIP zeroed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.protocols import DenoiseRequest, DenoiseResult
from lcvd.model import LcvdModel
from lcvd.networks.adapters import ConditionName
from lcvd.networks.image_encoder import embed_image
from lcvd.networks.precond import NOISE_AUGMENTATION, Condition, micro_condition
from lcvd.networks.vae import DECODE_BATCH, decode_batches, reference_latents
from lcvd.sampling.conditions import channels_first, latent_mask


@dataclass(frozen=True, slots=True, eq=False)
class EncodedReference:
    """All the network is told of the portrait; computed once for each."""

    features: Tensor  # [1,C,h,w] of the reference adapter
    clip: Tensor  # [1,1,D]
    latents: Tensor  # [1,4,h,w] condition latents, times 1 - mask


class EagerBackend:
    """Backend (protocol). Holds weights and no participant; call it under `torch.inference_mode()`, from one thread."""

    name = "eager"
    frames_per_run = DECODE_BATCH  # decoded at once

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
        """Compute what stays the same for every window of a portrait."""
        model = self.model
        pixels = torch.from_numpy(channels_first("reference", rgb).astype(np.float32))[None] / 127.5 - 1.0
        pixels = pixels.to(model.device)
        latents = reference_latents(model.vae, pixels, noise, NOISE_AUGMENTATION)
        keep = 1.0 - latent_mask(mask, (latents.shape[2], latents.shape[3])).to(latents)
        return EncodedReference(
            features=self._features("reference", pixels.to(model.dtype)),
            clip=embed_image(model.image_encoder, pixels, model.image_mean, model.image_std),
            latents=latents * keep,
        )

    def features(
        self,
        hints: NDArray[np.uint8],  # [n,S,S,3]
    ) -> Tensor:
        """Shading features [n,C,h,w]; per frame, so they may be kept with the frame."""
        stack = np.ascontiguousarray(np.moveaxis(hints, -1, 1))
        pixels = torch.from_numpy(stack).to(self.device).float() / 255.0
        return self._features("shading", pixels.to(self.model.dtype))

    def denoise(
        self,
        requests: Sequence[DenoiseRequest],  # of one number of branches and frames
    ) -> list[DenoiseResult]:
        """Predict v1 and v2 of each request in one call of the network, c1 before c2; v1 is None with one branch."""
        branches = requests[0].branches
        rows = [self._branch(each, guided) for each in requests for guided in (False, True)[-branches:]]
        condition = Condition(
            torch.cat([row.features for row in rows if row.features is not None]),
            torch.cat([row.image_embedding for row in rows]),
            torch.cat([row.latents for row in rows]),
            torch.cat([row.ids for row in rows]),
        )
        x = torch.stack([each.x for each in requests for _ in range(branches)])
        levels = [_level(each.sigma, self.device) for each in requests for _ in range(branches)]
        sigma = torch.stack(torch.broadcast_tensors(*levels))  # one level a window, or a level a frame for all
        v = self._v(x, sigma, condition).unflatten(0, (len(requests), branches))
        return [DenoiseResult(None if branches == 1 else each[0], each[-1]) for each in v]

    def _branch(self, request: DenoiseRequest, guided: bool) -> Condition:
        """The condition c2 (`guided`), or c1: the reference alone."""
        frames, reference = len(request.x), request.reference
        held = reference.features[None].expand(-1, frames, -1, -1, -1)
        return Condition(
            held + request.features[None] if guided else held,
            reference.clip if guided else torch.zeros_like(reference.clip),
            reference.latents[None].expand(-1, frames, -1, -1, -1),
            _held_ids(self.device),
        )

    def decode(
        self,
        latents: Tensor,  # [n,4,h,w] scaled, clean
    ) -> NDArray[np.uint8]:
        """Pictures [n,S,S,3], on the host."""
        pictures = torch.cat(list(self._decode(latents)))
        return (pictures * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def warmup(self, size: int, frames: int, branches: Sequence[int], batches: Sequence[int]) -> None:
        """Run every stage once at the shapes to come."""
        with torch.inference_mode():
            black = np.zeros((size, size, 3), np.uint8)
            reference = self.encode(black, np.ones((size, size), np.float32), torch.zeros(1, 3, size, size))
            features = self.features(black[None]).expand(frames, -1, -1, -1)
            x = torch.zeros(frames, 4, size // 8, size // 8, device=self.device)
            for batch in batches:
                for each in branches:
                    self.denoise([DenoiseRequest(x, 1.0, reference, features, each)] * batch)
            self.decode(x[: self.frames_per_run])

    def _v(
        self,
        x: Tensor,  # [B,F,4,h,w]
        sigma: Tensor,  # [B], or [B,F]
        condition: Condition,
    ) -> Tensor:
        return self._denoiser(x, sigma, condition)

    def _features(
        self,
        name: ConditionName,
        pixels: Tensor,  # [n,3,S,S]
    ) -> Tensor:
        return self.model.adapters.features(name, pixels[None])[0]

    def _decode(self, latents: Tensor) -> list[Tensor]:
        return list(decode_batches(self.model.picture_vae, latents, self.frames_per_run))


def _level(sigma: float | NDArray[np.float64], device: torch.device) -> Tensor:
    return _held_level(tuple(sigma) if isinstance(sigma, np.ndarray) else sigma, device)


@lru_cache(maxsize=8)
def _held_ids(device: torch.device) -> Tensor:
    """The micro-condition [1,3], kept on the device as the levels are."""
    return micro_condition(1, device=device)


@lru_cache(maxsize=256)
def _held_level(sigma: float | tuple[float, ...], device: torch.device) -> Tensor:
    """σ on the device, kept: copying it at every step would wait for the device."""
    return torch.tensor(sigma, device=device, dtype=torch.float32)
