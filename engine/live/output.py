"""Frames in and pictures out of the live core: Arrivals numbers frames; OutputFrame and LiveSnapshot are what leaves.

Pure bookkeeping, no lock, no clock.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame
from engine.live.face_advice import FaceState


@dataclass(frozen=True, slots=True, eq=False)
class OutputFrame:
    """One picture to send. `t_s` is the source's presentation time, made monotone."""

    index: int
    t_s: float
    rgb: NDArray[np.uint8]  # [H,W,3], C-contiguous; nobody writes into it
    arrived_s: float
    relit: bool
    showing: str = ""  # the engine that made it, `camera` or `portrait`


@dataclass(frozen=True, slots=True)
class LiveSnapshot:
    """The `stats` message of docs/protocol.md, without its `type`; `dataclasses.asdict` gives the JSON."""

    fps_in: float = 0.0
    fps_out: float = 0.0
    drops: int = 0
    width: int = 0
    height: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    face: FaceState = "ok"
    engine: dict[str, str] = field(default_factory=dict)


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
