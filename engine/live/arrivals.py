"""The camera's pictures as they come → numbered frames whose times only grow. Pure bookkeeping, no lock, no clock."""

import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame

NEXT_S = 1e-3  # between a picture and the one that replaces it at once
FRAME_S = 1 / 30  # what a source that jumps back in time is assumed to have skipped


class Arrivals:
    """Frames of one participant. Not thread-safe: its owner holds the lock."""

    def __init__(self) -> None:
        self.count = 0
        self.fresh_from = 0  # what was made of earlier frames is stale: a mirror, a pause or an avatar came between
        self.shape: tuple[int, ...] = (0, 0, 3)  # of the newest
        self._shift_s = 0.0
        self._last_t_s = float("-inf")

    def frame(self, rgb: NDArray[np.uint8], t_s: float, now_s: float) -> Frame:
        """The next frame: picture [H,W,3] with its presentation time, arrived at `now_s`."""
        if t_s + self._shift_s <= self._last_t_s:  # the camera was changed: time goes on, for us
            self._shift_s = self._last_t_s + FRAME_S - t_s
        self._last_t_s = t_s + self._shift_s
        self.shape = rgb.shape
        self.count += 1
        return Frame(self.count - 1, self._last_t_s, rgb, now_s)

    def insert(self) -> tuple[int, float]:
        """Number and time of a picture that no frame brought, right after the newest frame."""
        self._last_t_s += NEXT_S
        self.count += 1
        return self.count - 1, self._last_t_s

    def all_stale(self) -> None:
        """Nothing that came so far is to be shown any more."""
        self.fresh_from = self.count
