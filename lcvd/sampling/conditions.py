"""Makes the Condition pairs (c1, c2) of Eq. 6 for every window of a clip, from pictures.

The clip is the reference itself under its own light (frame 0, the anchor) followed by the driven frames. The reference
is encoded once; hints are read and their features computed per window, so they may be memory-mapped: features of a
whole clip would weigh 2.6 MB a frame at 512 px, and recomputing them costs 0.1 % of a window.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lcvd.errors import ShapeError
from lcvd.model import LcvdModel
from lcvd.networks.adapters import Adapters, ConditionName
from lcvd.networks.guidance import MODES, ModeName
from lcvd.networks.image_encoder import embed_image
from lcvd.networks.precond import NOISE_AUGMENTATION, Condition, micro_condition
from lcvd.networks.vae import reference_latents


class Pictures(Protocol):
    """uint8 [T,3,H,W] or [T,H,W,3]; a numpy array or anything that answers these, a memory map for example."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...


def channels_first(name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[3,H,W] of a uint8 [3,H,W] or [H,W,3]. Raises ShapeError naming `name`."""
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or 3 not in (picture.shape[0], picture.shape[2]):
        raise ShapeError(f"{name}: expected uint8 [3,H,W] or [H,W,3], got {picture.dtype} {picture.shape}")
    # Always the same memory layout: torch picks its convolution by strides, and equal seeds must give equal bits.
    return np.ascontiguousarray(picture if picture.shape[0] == 3 else np.moveaxis(picture, 2, 0))


def released_bytes(reference: NDArray[np.uint8], dtype: torch.dtype) -> NDArray[np.uint8]:
    """Return the reference, uint8 of any shape, as the released script hands it to the VAE and to CLIP.

    It goes to [-1, 1] in the precision of the run and comes back to bytes by truncation, which costs some values a
    level (20 of 256 in fp16, 63 in fp32); the reference adapter gets the uncut picture. Source: the
    release's inference.py.
    """
    values = torch.arange(256).to(dtype) / 127.5 - 1.0
    table = ((values + 1) * 127.5).to(torch.uint8).numpy()
    return np.asarray(table[reference], np.uint8)


def latent_mask(
    mask: NDArray[np.generic],  # [H,W] in [0,1] or bool, 1 = portrait
    size: tuple[int, int],  # h, w
) -> Tensor:
    """Resize a mask to the latents' size, float32 [1,1,h,w]: bilinear without antialiasing, as the release does."""
    if mask.ndim != 2 or mask.dtype == np.uint8:
        raise ShapeError(f"mask: expected [H,W] of bool or of numbers in [0,1], got {mask.dtype} {mask.shape}")
    soft = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
    if not (soft.min() >= 0 and soft.max() <= 1):
        raise ShapeError(f"mask: values must lie in [0,1], got {float(soft.min())} … {float(soft.max())}")
    return F.interpolate(soft, size=size, mode="bilinear", align_corners=False)


class ClipConditions:
    """Makes all inputs of the network besides x and σ, for any window of one clip."""

    def __init__(
        self,
        model: LcvdModel,
        reference_rgb: NDArray[np.uint8],  # [H,W,3]
        mask: NDArray[np.generic],  # [H,W] in [0,1], 1 = portrait
        reference_driver: NDArray[np.uint8],  # the anchor's own hint (landmark map in landmark mode)
        drivers: Pictures,  # [T,…] hints (landmark maps in landmark mode)
        mode: ModeName = "relight",
        noise: Tensor | None = None,  # [1,3,H,W] for the reference's augmentation
        released_reference: bool = False,  # the VAE and CLIP see it as `released_bytes` cuts it
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode: unknown name {mode!r}; use {', '.join(MODES)}")
        reference = channels_first("reference", reference_rgb)
        height, width = reference.shape[1:]
        if height % 8 or width % 8:
            raise ShapeError(f"reference: height and width must be multiples of 8, got {height} and {width}")
        if mask.shape != (height, width):
            raise ShapeError(f"mask: expected {(height, width)} as the reference, got {mask.shape}")
        if len(drivers.shape) != 4 or drivers.shape[0] < 1:
            raise ShapeError(f"hints: expected uint8 [T,3,H,W] with T ≥ 1, got {tuple(drivers.shape)}")
        self._model, self._mode = model, MODES[mode]
        self._anchor, self._drivers = channels_first("reference hint", reference_driver), drivers
        self._size = (height, width)
        self.frames = drivers.shape[0] + 1
        self.latent_size = (height // 8, width // 8)
        self._picture(0), self._picture(1)  # wrong sizes fail before the first step, not after an hour
        pixels = torch.from_numpy(reference.astype(np.float32))[None] / 127.5 - 1.0
        pixels = pixels.to(model.device)
        cut = released_bytes(reference, model.dtype) if released_reference else reference
        seen = torch.from_numpy(cut.astype(np.float32))[None].to(model.device) / 127.5 - 1.0
        with torch.inference_mode():
            latents = reference_latents(model.vae, seen, noise, NOISE_AUGMENTATION)
            keep = 1.0 - latent_mask(mask, self.latent_size).to(latents)
            self._latents = (latents * keep)[:, None]
            self._embedding = embed_image(model.image_encoder, seen, model.image_mean, model.image_std)
            self._reference = model.adapters.features("reference", pixels[:, None].to(model.dtype))

    def pair(self, frames: Sequence[int]) -> tuple[Condition, Condition]:
        """Return (c1, c2) of one window, B = 1."""
        ids = micro_condition(1, device=self._model.device)
        latents = self._latents.expand(-1, len(frames), -1, -1, -1)
        driven = self._driven(frames)
        features: list[Tensor] = []
        for names in (self._mode.c1, self._mode.c2):
            total = self._reference.new_zeros(1, len(frames), *self._reference.shape[2:])
            if "reference" in names:
                total = total + self._reference
            if "shading" in names or "landmarks" in names:
                total = total + driven
            features.append(total)
        return (
            Condition(features[0], torch.zeros_like(self._embedding), latents, ids),
            Condition(features[1], self._embedding, latents, ids),
        )

    def _driven(self, frames: Sequence[int]) -> Tensor:
        adapters: Adapters = self._model.adapters
        name: ConditionName = "landmarks" if "landmarks" in self._mode.c2 else "shading"
        stack = np.stack([self._picture(frame) for frame in frames])
        pixels = torch.from_numpy(stack).to(self._model.device).float() / 255.0
        return adapters.features(name, pixels[None].to(self._model.dtype))

    def _picture(self, frame: int) -> NDArray[np.uint8]:
        if frame == 0:
            picture, name = self._anchor, "reference hint"
        else:
            name = f"hint {frame - 1}"
            picture = channels_first(name, np.asarray(self._drivers[frame - 1]))
        if picture.shape[1:] != self._size:
            raise ShapeError(f"{name}: expected {self._size} as the reference, got {picture.shape[1:]}")
        return picture


def joined(c1: Condition, c2: Condition) -> Condition:
    """Concatenate both branches into one batch, c1 first."""
    assert c1.features is not None
    assert c2.features is not None
    return Condition(
        torch.cat([c1.features, c2.features]),
        torch.cat([c1.image_embedding, c2.image_embedding]),
        torch.cat([c1.latents, c2.latents]),
        torch.cat([c1.ids, c2.ids]),
    )
