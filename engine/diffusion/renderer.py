"""The device half of the LCVD sentence: one stream's hints → features → denoised rows → pictures of the fresh ones.

What does not change is computed once: of the portrait its features, CLIP and latents, of rows that the next window
starts with their latents and features. Knows backends only by their protocol, and no face, light, thread or clock.
"""

from collections.abc import Generator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.diffusion.batching import Steps
from engine.diffusion.sampler import SamplerPlan, window_steps
from engine.diffusion.staggered import StaggeredShape, staggered_steps
from engine.diffusion.window import WINDOW, Window, WindowShape
from engine.protocols import Answer, Ask, Backend
from engine.reference import Reference
from engine.stats import Stats


class WindowRenderer:
    """What one stream keeps on the device from window to window. One thread at a time."""

    def __init__(
        self,
        backend: Backend,
        reference: Reference,
        plan: SamplerPlan,
        shape: WindowShape | StaggeredShape,
        seed: int,
        stats: Stats,
    ) -> None:
        self._backend, self._portrait, self._plan, self._shape, self._stats = backend, reference, plan, shape, stats
        # As offline: picture noise, then latents, on the CPU in float32. A seed means the same live and offline.
        generator, size = torch.Generator().manual_seed(seed), len(reference.rgb)
        self._picture_noise = torch.randn(1, 3, size, size, generator=generator)
        self._draw = torch.randn(WINDOW, 4, size // 8, size // 8, generator=generator)
        self._encoded: object | None = None
        self._kept: Tensor | None = None  # [n,4,h,w] latents of the shape's `kept` rows
        self._features: Tensor | None = None  # [n,C,h,w] their hints' features

    def pictures(self, window: Window) -> Steps[list]:
        """Asks for denoiser calls; returns uint8 [S,S,3] of each frame made; each an array of its own."""
        if self._encoded is None:
            self._encode()
        with self._stats.stage("features"):
            features = self._rows(self._backend.features(window.hints))
        with self._stats.stage("denoise"):
            rows = [frame % WINDOW for frame in self._shape.clip_frames(window.number)]
            latents = yield from self._denoised(features, rows)
        with self._stats.stage("decode"):
            decoded = self._backend.decode(latents[self._shape.ready])
        self._kept, self._features = latents[self._shape.kept], features[self._shape.kept]
        return list(decoded)

    def _encode(self) -> None:
        portrait = self._portrait
        with self._stats.stage("encode"):
            self._encoded = self._backend.encode(portrait.rgb, portrait.mask, self._picture_noise)
            self._features = self._backend.features(portrait.hint[None])
            self._draw = self._draw.to(self._features.device)

    def _rows(self, fresh: Tensor) -> Tensor:
        """Features of all rows: [anchor | context | fresh]."""
        assert self._features is not None
        if self._kept is None:  # before the first window the clip stood still
            still = fresh[:1].expand(self._shape.context, -1, -1, -1)
            return torch.cat([self._features, still, fresh])
        return torch.cat([self._features, fresh])

    def _denoised(self, features: Tensor, rows: list[int]) -> Steps[Tensor]:
        steps = self._process(self._draw[rows])
        try:
            x, sigma = next(steps)
            while True:
                answer = yield Ask(x, sigma, self._encoded, features, self._plan.branches)
                x, sigma = steps.send(answer)
        except StopIteration as done:
            latents: Tensor = done.value
            return latents

    def _process(self, noise: Tensor) -> Generator[tuple[Tensor, float | NDArray[np.float64]], Answer, Tensor]:
        if isinstance(self._shape, StaggeredShape):
            return staggered_steps(noise, self._plan, self._shape, self._kept)
        return window_steps(noise, self._plan, self._kept)
