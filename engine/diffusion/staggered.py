"""The staggered-noise mode: [anchor | context | chunk 1 … chunk K], each chunk at its own noise level, K levels in all.

One call of the denoiser per new chunk takes every chunk one level down: the oldest becomes clean and leaves into the
context, the next enters as pure noise. It is StreamDiffusion's stream batch (Kodaira et al. 2023) laid out in time and
not in the batch, so that frames see each other: Rolling Diffusion Models (Ruhe et al. 2024), FIFO-Diffusion (Kim et al.
2024) by chunks. It needs a model trained with a noise level per frame (Diffusion Forcing, Chen et al. 2024), which the
published LCVD is not. Clean rows say so by their own level, hence no context correction (`engine.diffusion.sampler`).
"""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.diffusion.sampler import SamplerPlan
from engine.diffusion.window import WINDOW, RollingWindow, Window, WindowShape
from engine.frames import Frame, Work
from lcvd.networks.guidance import guided
from lcvd.networks.schedule import SIGMA_MIN, conditioning_sigmas, few_step_sigmas, initial_levels, step
from lcvd.types import Face, Lighting

CHUNK_FRAMES = 4  # frames that enter with a call
MAX_LEVELS = (WINDOW - 2) // CHUNK_FRAMES  # one row at least is context


@dataclass(frozen=True, slots=True)
class StaggeredShape:
    """Says how the rows are used: row 0 the anchor, `context` rows clean, then `levels` chunks, the oldest first.

    A chunk passes as many noise levels as chunks are under way. ValueError names the legal values.
    """

    levels: int = MAX_LEVELS
    chunk: int = CHUNK_FRAMES
    size: int = WINDOW

    def __post_init__(self) -> None:
        if self.levels < 1 or self.chunk < 1 or self.context < 1:
            raise ValueError(
                f"levels={self.levels}, chunk={self.chunk}: at least 1 each, and at most {self.size - 2} frames"
                f" under way in a window of {self.size}"
            )

    @classmethod
    def of_steps(cls, steps: int) -> "StaggeredShape":
        """Makes the shape with as many levels as a window has `steps`, or as many as fit."""
        return cls(min(steps, MAX_LEVELS))

    @property
    def context(self) -> int:
        """Clean rows beside the anchor."""
        return self.size - 1 - self.levels * self.chunk

    @property
    def blocks(self) -> list[int]:
        """Rows of one level each: [anchor and context, chunk 1 … chunk K]."""
        return [1 + self.context, *[self.chunk] * self.levels]

    @property
    def ready(self) -> slice:
        """Rows that are clean and new after a call: the oldest chunk."""
        return slice(1 + self.context, 1 + self.context + self.chunk)

    @property
    def kept(self) -> list[int]:
        """Rows that the next call starts with: all but the oldest chunk's worth of context."""
        return [0, *range(1 + self.chunk, self.size)]

    def clip_frames(self, number: int) -> list[int]:
        """Places in the clip of the rows of Work `number`; the anchor is 0, and frames 1 … context stand still."""
        start = number * self.chunk
        return [0, *range(start + 1, start + self.size)]

    def sigmas(self, plan: SamplerPlan) -> NDArray[np.float64]:
        """[levels + 1], falling, the last one 0: the path of every chunk."""
        return few_step_sigmas(plan.sampler, self.levels)


class StaggeredWindow:
    """Collects chunks of one stream. A Work has the frames that leave, and in its host the hints that enter.

    The first Work waits until all chunks are under way and brings the hints of them all, because a Work without frames
    would be one that nobody sees again; from then on each chunk that fills gives one.
    """

    def __init__(self, shape: StaggeredShape) -> None:
        self.shape = shape
        self._filling = RollingWindow(WindowShape(shape.chunk, shape.size))
        self._flying: deque[Work] = deque()  # at most `levels` chunks
        self._number = 0

    def __len__(self) -> int:
        """Frames held back: at most levels · chunk - 1."""
        return len(self._filling) + sum(len(chunk.frames) for chunk in self._flying)

    def add(
        self,
        frame: Frame,
        face: Face | None,
        lighting: Lighting,
        hint: NDArray[np.uint8],  # [S,S,3]
    ) -> Work | None:
        """The Work of the chunk that leaves because `frame` filled one, or None."""
        filled = self._filling.add(frame, face, lighting, hint)
        if filled is None:
            return None
        self._flying.append(filled)
        if len(self._flying) < self.shape.levels:
            return None
        entering = list(self._flying) if self._number == 0 else [filled]
        window = Window(self._number, np.concatenate([chunk.payload.hints for chunk in entering]))
        self._number += 1
        return replace(self._flying.popleft(), payload=window)


class StaggeredDenoising:
    """Denoising (engine.diffusion.sampler) of one call of the staggered mode: every chunk goes one level down.

    At the start (`kept` None) all rows are noise and come down together, each until it is where it belongs, as in Ruhe
    et al. 2024, Sec. 3.3: levels calls, as many as there are chunks; later one call. Clean are then the rows
    `shape.ready`, and the known ones, which come back as they were; the network sees them at the cleanest level it was
    trained at, with that little noise.
    """

    def __init__(
        self,
        noise: Tensor,  # [F,4,h,w] standard normal, of these frames of the clip
        plan: SamplerPlan,
        shape: StaggeredShape,
        kept: Tensor | None = None,  # [F - chunk,4,h,w] rows as the call before left them, `shape.kept` of them
    ) -> None:
        self._noise, self._plan, self._shape = noise, plan, shape
        self._sigmas = shape.sigmas(plan)
        self._conditioning = conditioning_sigmas(plan.sampler, shape.levels)
        self._rest = initial_levels(shape.levels)
        self._omega, self._known = torch.tensor(plan.omega), 1 + shape.context
        self._x = noise * (self._sigmas[0] ** 2 + 1) ** 0.5
        self._levels = np.zeros_like(self._rest)  # of each block of rows
        if kept is not None:
            self._x, self._levels = torch.cat([kept.to(self._x), self._x[len(kept) :]]), self._rest

    def input(self) -> tuple[Tensor, NDArray[np.float64]]:
        """See Denoising: x [F,4,h,w], σ [F]."""
        x, known = self._x, self._known
        if self._levels[0] == self._shape.levels:  # the known rows are clean
            x = torch.cat([x[:known] + SIGMA_MIN * self._noise[:known], x[known:]])
        return x, np.repeat(self._conditioning[self._levels], self._shape.blocks)

    def advance(self, v1: Tensor | None, v2: Tensor) -> Tensor | None:
        """See Denoising."""
        shape, sigmas = self._shape, self._sigmas
        starting = self._levels[0] < shape.levels - 1
        after = np.minimum(self._levels + 1, self._rest if starting else shape.levels)
        v = v2 if v1 is None else guided(v1, v2, self._omega)
        blocks = zip(self._x.split(shape.blocks), v.split(shape.blocks), self._levels, after, strict=True)
        self._x = torch.cat(
            [
                x if now == below else step(self._plan.sampler, x, each, float(sigmas[now]), float(sigmas[below]))
                for x, each, now, below in blocks
            ]
        )
        self._levels = after
        return None if starting else self._x
