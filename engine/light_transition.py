"""Light changes as the picture sees them: over 250 ms of the stream's own time, whoever asked, from any thread.

Each frame goes a share of the way that is left, so a light that is dragged is followed while it moves: a glide that
started anew at every change would stand still under twenty changes a second.
"""

import math
import threading

from lcvd.lighting.lighting import interpolate
from lcvd.types import Lighting

GLIDE_S = 0.25
FOLLOW_S = 0.1  # time constant of following; the last FOLLOW_S of a glide are linear, so that it ends


class LightGlide:
    """`set` from any thread; `at` from the one that prepares frames."""

    def __init__(self, lighting: Lighting, seconds: float = GLIDE_S) -> None:
        self._lock = threading.Lock()
        self._wanted = lighting
        self._end = self._now = lighting
        self._end_s = self._before_s = float("-inf")  # when the glide ends, and the time of the last frame
        self._seconds = seconds

    def set(self, lighting: Lighting) -> None:
        """Glide to `lighting` from the next frame on."""
        with self._lock:
            self._wanted = lighting

    def at(self, t_s: float) -> Lighting:
        """The light of the frame at `t_s`. Times may jump; a step back costs no more than one glide."""
        with self._lock:
            wanted = self._wanted
        # A glide counts from the frame before it, but after a gap no more than one frame's worth is made up for.
        elapsed_s = min(max(t_s - self._before_s, 0.0), 0.2 * self._seconds)
        if wanted is not self._end:
            self._end, self._end_s = wanted, t_s - elapsed_s + self._seconds
        self._end_s = min(self._end_s, t_s + self._seconds)
        self._before_s = t_s
        if self._now is self._end:
            return self._now
        left_s = self._end_s - t_s
        if left_s <= 0:
            self._now = self._end
        else:
            share = max(1 - math.exp(-elapsed_s / FOLLOW_S), elapsed_s / (left_s + elapsed_s))
            self._now = interpolate(self._now, self._end, share)
        return self._now
