"""The device half of LCVD live: one stream's hints → features → denoised rows → pictures of the new ones.

`WindowRenderer` keeps what does not change: of the portrait its features, CLIP and latents, of rows that the next
window starts with their latents and features. `WindowJob` is one window under way. Both know backends only by their
protocol, and no face, light, thread or clock.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from engine.diffusion.mean_jump import MeanJump
from engine.diffusion.sampler import Denoising, MeanError, SamplerPlan, WindowDenoising
from engine.diffusion.staggered import StaggeredDenoising, StaggeredShape
from engine.diffusion.window import WINDOW, Window, WindowShape
from engine.frames import Frame, Work
from engine.protocols import Backend, DenoiseRequest, DenoiseResult
from engine.reference import Reference
from engine.stats import Stats

OnWindow = Callable[[float, float], None]  # when a window was begun and done, in seconds of the stats' clock


class WindowJob:
    """One window on its way through the denoiser (`engine.diffusion.batching.Job`).

    Its inputs are fixed when it begins; what changes from step to step is `denoising` alone.
    """

    def __init__(
        self,
        renderer: "WindowRenderer",
        work: Work,
        reference: object,  # the value of `Backend.encode`
        features: Tensor,  # [F,C,h,w]
        denoising: Denoising,
        began_s: float,
        on_window: OnWindow,
    ) -> None:
        self._renderer, self._frames, self._reference, self._features = renderer, work.frames, reference, features
        self._denoising, self._began_s, self._on_window = denoising, began_s, on_window
        self._denoise_s = renderer.stats.clock()

    def request(self) -> DenoiseRequest:
        """The prediction that the next step waits for."""
        x, sigma = self._denoising.input()
        return DenoiseRequest(x, sigma, self._reference, self._features, self._renderer.plan.branches)

    def advance(self, result: DenoiseResult) -> list[Frame] | None:
        """Go one step on; after the last one the avatar's frames [S,S,3], each an array of its own."""
        latents = self._denoising.advance(*result)
        if latents is None:
            return None
        stats = self._renderer.stats
        stats.add("denoise", stats.clock() - self._denoise_s)
        pictures = self._renderer.finish(latents, self._features)
        self._on_window(self._began_s, stats.clock())
        return [replace(frame, rgb=rgb) for frame, rgb in zip(self._frames, pictures, strict=True)]


class WindowRenderer:
    """Keeps on the device what one stream needs from window to window. One thread, one job at a time."""

    def __init__(
        self,
        backend: Backend,
        reference: Reference,
        plan: SamplerPlan,
        shape: WindowShape | StaggeredShape,
        seed: int,
        stats: Stats,
    ) -> None:
        self.plan, self.stats = plan, stats
        self._backend, self._portrait, self._shape = backend, reference, shape
        # As offline: picture noise, then latents, on the CPU in float32. A seed means the same live and offline.
        generator, size = torch.Generator().manual_seed(seed), len(reference.rgb)
        self._picture_noise = torch.randn(1, 3, size, size, generator=generator)
        self._draw = torch.randn(WINDOW, 4, size // 8, size // 8, generator=generator)
        self._mean_error, self._mean_jump = MeanError(), MeanJump()
        self._encoded: object | None = None
        self._kept: Tensor | None = None  # [n,4,h,w] latents of the shape's `kept` rows
        self._features: Tensor | None = None  # [n,C,h,w] their hints' features

    def begin(self, work: Work, on_window: OnWindow) -> WindowJob:
        """Compute the features of `work`'s window, before the first one the portrait's too, and start denoising it."""
        began_s, window = self.stats.clock(), work.payload
        if self._encoded is None:
            self._encode()
        with self.stats.stage("features"):
            features = self._rows(self._backend.features(window.hints))
        return WindowJob(self, work, self._encoded, features, self._denoising(window), began_s, on_window)

    def finish(self, latents: Tensor, features: Tensor) -> list:
        """Decode the new rows, keep those that the next window starts with; uint8 [S,S,3] of each new row."""
        with self.stats.stage("decode"):
            decoded = self._backend.decode(self._joined(latents[self._shape.ready]))
        self._kept, self._features = latents[self._shape.kept], features[self._shape.kept]
        return list(decoded)

    def _joined(self, new: Tensor) -> Tensor:
        """Return the new rows as they are shown: without the step that this network makes at every join."""
        if isinstance(self._shape, StaggeredShape) or self.plan.join != "correct":
            return new
        return self._mean_jump.spread(new, None if self._kept is None else self._kept[-1])

    def _encode(self) -> None:
        portrait = self._portrait
        with self.stats.stage("encode"):
            self._encoded = self._backend.encode(portrait.rgb, portrait.mask, self._picture_noise)
            self._features = self._backend.features(portrait.hint[None])
            self._draw = self._draw.to(self._features.device)

    def _rows(self, new: Tensor) -> Tensor:
        """Features of all rows: [anchor | context | new]."""
        assert self._features is not None
        if self._kept is None:  # before the first window the clip stood still
            still = new[:1].expand(self._shape.context, -1, -1, -1)
            return torch.cat([self._features, still, new])
        return torch.cat([self._features, new])

    def _denoising(self, window: Window) -> Denoising:
        noise = self._draw[[frame % WINDOW for frame in self._shape.clip_frames(window.number)]]
        if isinstance(self._shape, StaggeredShape):
            return StaggeredDenoising(noise, self.plan, self._shape, self._kept)
        return WindowDenoising(noise, self.plan, self._kept, self._mean_error)
