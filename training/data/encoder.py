"""FrozenEncoder turns pictures into VAE posteriors and CLIP tokens with the frozen networks, cached where asked."""

import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcvd.model import LcvdModel
from lcvd.networks.image_encoder import embed_image
from training.config import DataConfig
from training.data.tensor_cache import TensorCache, network_key, picture_key

VAE_BATCH = 8  # pictures that pass the VAE in one call


class FrozenEncoder:
    """Encodes uint8 pictures on the model's device; results are float32 on it.

    With a folder, each picture passes the VAE once, and a reference passes it in `draws` versions, each with its own
    noise.
    """

    def __init__(
        self,
        model: LcvdModel,
        data: DataConfig,
        folder: Path | None = None,
        rank: int = 0,
        bf16: bool = False,  # arithmetic of the VAE; in fp16 the published one overflows
    ) -> None:
        self._model, self._draws, self._bf16 = model, data.reference_draws, bf16
        self._cache: dict[str, TensorCache] = {}
        if folder is not None:
            side, bound = data.size // 8, int(data.latents_gb * 2**30)
            channels = 2 * int(model.vae.config.latent_channels)
            dim = int(model.image_encoder.config.projection_dim)
            for name, key, shape in (
                ("vae", network_key(model.vae), (channels, side, side)),
                ("clip", network_key(model.image_encoder), (1, dim)),
            ):
                # The precision is part of the file's name: runs of another precision share the folder, not the file.
                about = f"{name}-{key}{'-bf16' if bf16 and name == 'vae' else ''}-{rank}"
                self._cache[name] = TensorCache(folder / f"{about}.bin", shape, bound)

    @property
    def scaling(self) -> float:
        """Returns the factor by which latents are multiplied before they are denoised."""
        return float(self._model.vae.config.scaling_factor)

    @property
    def cached(self) -> bool:
        """Returns whether results are cached."""
        return bool(self._cache)

    def draw(self, generator: torch.Generator, picture: NDArray[np.uint8]) -> int:
        """Draws the seed of a reference's noise; it always takes one number of the generator.

        A cached picture has few seeds, and every picture has its own.
        """
        drawn = int(torch.randint(2**31, (), generator=generator))
        if not self.cached:
            return drawn
        return int.from_bytes(picture_key(picture)[:4], "little") * self._draws + drawn % self._draws

    def moments(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Returns mean and log variance of each picture [N,S,S,3]: [N,8,h,w]."""
        return self._moments([picture_key(picture) for picture in pictures] if self.cached else [], pictures, None)

    def noisy_moments(self, picture: NDArray[np.uint8], level: float, draw: int) -> Tensor:
        """Returns [8,h,w] of one picture [S,S,3] with noise of deviation `level`, drawn with the seed `draw`."""
        generator = torch.Generator().manual_seed(draw)
        noise = level * torch.randn(1, 3, *picture.shape[:2], generator=generator)
        return self._moments(
            [picture_key(picture, struct.pack("<qd", draw, level))] if self.cached else [], picture[None], noise
        )[0]

    @torch.no_grad()
    def token(self, picture: NDArray[np.uint8]) -> Tensor:
        """Returns CLIP's embedding of the whole picture, [1,D]."""
        model, cache = self._model, self._cache.get("clip")
        key = picture_key(picture) if cache is not None else b""
        known = cache.get(key) if cache is not None else None
        if known is None:
            pixels = self._pixels(picture[None])
            known = embed_image(model.image_encoder, pixels, model.image_mean, model.image_std)[0]
            if cache is not None:
                cache.put(key, known)
        return known.to(model.device)

    def close(self) -> None:
        """Closes the cache files."""
        for cache in self._cache.values():
            cache.close()

    @torch.no_grad()
    def _moments(self, keys: list[bytes], pictures: NDArray[np.uint8], noise: Tensor | None) -> Tensor:
        cache = self._cache.get("vae")
        if cache is None:
            pixels = self._pixels(pictures, noise)
            return torch.cat([self._encode(chunk) for chunk in pixels.split(VAE_BATCH)])
        out = []
        for i, key in enumerate(keys):
            known = cache.get(key)
            if known is None:
                known = self._encode(self._pixels(pictures[i : i + 1], noise))[0]
                cache.put(key, known)
            out.append(known.to(self._model.device))
        return torch.stack(out)

    def _pixels(self, pictures: NDArray[np.uint8], noise: Tensor | None = None) -> Tensor:
        """Returns pictures as [N,3,S,S] in [-1,1], with the noise added."""
        # Contiguous, because torch picks its convolution by strides and equal pictures must give equal bits.
        raw = torch.from_numpy(np.ascontiguousarray(pictures)).to(self._model.device)
        pixels = raw.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0
        return pixels if noise is None else pixels + noise.to(pixels)

    def _encode(self, pixels: Tensor) -> Tensor:
        vae = self._model.vae
        place = next(vae.encoder.parameters())
        with torch.autocast(place.device.type, torch.bfloat16, enabled=self._bf16):
            moments: Tensor = vae.encode(pixels.to(place)).latent_dist.parameters
        return moments.float()


def sampled(
    moments: Tensor,  # [N,8,h,w]
    noise: Tensor,  # [N,4,h,w] standard normal
) -> Tensor:
    """Draws a sample of each posterior, unscaled [N,4,h,w]."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * noise.to(mean)
