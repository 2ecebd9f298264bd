"""A change of light becomes a transition over 250 ms of the stream's own time, whichever thread requests it.

Each frame goes a share of the remaining way, so a light that is dragged is followed while it moves. A transition that
started anew at every change would stand still under twenty changes a second.
"""

import math
import threading

from lcvd.lighting.lighting import interpolate
from lcvd.types import Lighting

TRANSITION_S = 0.25
FOLLOW_S = 0.1  # time constant; the last FOLLOW_S of a transition are linear, so that it ends


class LightTransition:
    """Holds the light of one stream. `set` may run in any thread, `at` in the one that prepares frames."""

    def __init__(self, lighting: Lighting, seconds: float = TRANSITION_S) -> None:
        self._lock = threading.Lock()
        self._requested = lighting
        self._end = self._now = lighting
        self._end_s = self._before_s = float("-inf")  # the transition's end, and the time of the last frame
        self._seconds = seconds

    def set(self, lighting: Lighting) -> None:
        """Start a transition to `lighting` with the next frame."""
        with self._lock:
            self._requested = lighting

    def at(self, t_s: float) -> Lighting:
        """Return the light of the frame at `t_s`. Times may jump; a step back ends within one transition."""
        with self._lock:
            requested = self._requested
        # A transition starts at the frame before it, but after a gap at most a fifth of it is caught up at once.
        elapsed_s = min(max(t_s - self._before_s, 0.0), 0.2 * self._seconds)
        if requested is not self._end:
            self._end, self._end_s = requested, t_s - elapsed_s + self._seconds
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
