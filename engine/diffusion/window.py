"""Frames with their Face, Lighting and hint → Work: rolling windows [anchor | context | new]. Sans-I/O, numpy only.

The live, causal twin of `lcvd.sampling.windows`: the anchor (the reference under its own light) opens every window, the
context repeats the newest frames of the window before, and only the last ones are new. 16 = 1 + 5 + 10 is the
published "overlap 6". Before the first window there is no context: the clip begins as if its first frame had stood
still, so every window has one shape and one delay. Knows nothing of latents.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame, Work
from lcvd.sampling.windows import WINDOW
from lcvd.types import Face, Lighting

STRIDES = (4, 8, 10)  # new frames a window, its hop; fewer: less delay, more work a frame
DEFAULT_STRIDE = 10


@dataclass(frozen=True, slots=True)
class WindowShape:
    """Says how the rows of a window are used: row 0 the anchor, `context` rows known, `hop` rows new."""

    hop: int = DEFAULT_STRIDE
    size: int = WINDOW

    def __post_init__(self) -> None:
        # A window without context would not know what it has to join.
        if not 1 <= self.hop <= self.size - 2:
            raise ValueError(f"hop={self.hop}: must lie in 1 … {self.size - 2} of a window of {self.size}")

    @property
    def context(self) -> int:
        """Frames shared with the window before, the anchor not counted."""
        return self.size - 1 - self.hop

    @property
    def overlap(self) -> int:
        """Rows shared with the window before, the anchor counted: the published 6."""
        return self.context + 1

    @property
    def ready(self) -> slice:
        """Rows that a window makes."""
        return slice(self.overlap, self.size)

    @property
    def kept(self) -> list[int]:
        """Rows that the next window starts with: anchor and context."""
        return [0, *range(self.size - self.context, self.size)]

    def clip_frames(self, number: int) -> list[int]:
        """Places in the clip of window `number`'s rows; the anchor is 0, and frames 1 … context stand still."""
        start = number * self.hop
        return [0, *range(start + 1, start + self.size)]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """`Work.payload` of a window: what the device half needs beside the frames."""

    number: int  # 0 has nothing before it
    hints: NDArray[np.uint8]  # [hop,S,S,3]


class RollingWindow:
    """Collects the frames of one stream. `add` gives a Work each time a window is full."""

    def __init__(self, shape: WindowShape) -> None:
        self.shape = shape
        self._number = 0
        self._held: list[tuple[Frame, Face | None, Lighting, NDArray[np.uint8]]] = []

    def __len__(self) -> int:
        """Frames held back."""
        return len(self._held)

    def add(
        self,
        frame: Frame,
        face: Face | None,
        lighting: Lighting,
        hint: NDArray[np.uint8],  # [S,S,3]
    ) -> Work | None:
        """The window that `frame` fills, or None while it is still filling."""
        self._held.append((frame, face, lighting, hint))
        if len(self._held) < self.shape.hop:
            return None
        frames, faces, lightings, hints = zip(*self._held, strict=True)
        work = Work(frames, faces, lightings, Window(self._number, np.stack(hints)))
        self._held = []
        self._number += 1
        return work
