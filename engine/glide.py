"""Light changes as the picture sees them: over 250 ms of the stream's own time, whoever asked, from any thread.

A change starts at the first frame after it was set, from whatever the light was there, so that changes may overlap.
"""

import threading

from lcvd.lighting import interpolate
from lcvd.types import Lighting

GLIDE_S = 0.25


class LightGlide:
    """`set` from any thread; `at` from the one that prepares frames."""

    def __init__(self, lighting: Lighting, seconds: float = GLIDE_S) -> None:
        self._lock = threading.Lock()
        self._wanted = lighting
        self._start = self._end = self._now = lighting
        self._start_s = float("-inf")
        self._seconds = seconds

    def set(self, lighting: Lighting) -> None:
        """Glide to `lighting` from the next frame on."""
        with self._lock:
            self._wanted = lighting

    def at(self, t_s: float) -> Lighting:
        """The light of the frame at `t_s`. Times may jump; a step back restarts the running glide."""
        with self._lock:
            wanted = self._wanted
        if wanted is not self._end:
            # u is 0 on the first frame: the change has its whole length, and that frame does not jump.
            self._start, self._end, self._start_s = self._now, wanted, t_s
        self._start_s = min(self._start_s, t_s)
        u = min((t_s - self._start_s) / self._seconds, 1.0) if self._seconds > 0 else 1.0
        # Smoothstep: no kink at either end.
        self._now = interpolate(self._start, self._end, u * u * (3 - 2 * u))
        return self._now
