"""Decides which packets of a source are looked at, where it sends more pixels than may be decoded. Clock injected.

A picture that is left out after it was decoded has cost most already, and codecs let nobody leave one out before. So a
source of too many pixels is not listened to for a while, and goes on with a key frame: it alone stutters.
"""

import math
import time
from collections.abc import Callable

BURST_S = 0.3  # what may come at once, and has to be there again after a pause: others feel a long one
HEAVY_S = 5.0  # after a rest: each change of size is seen


class Intake:
    """One source: a bucket of pixels."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit = math.inf  # pixels a second
        self._left = math.inf
        self._then_s = clock()
        self._rested_s = -math.inf
        self.resting = False

    @property
    def heavy(self) -> bool:
        """True for a source that rests again and again: what is heard of it comes in bursts."""
        return self._clock() - self._rested_s < HEAVY_S

    def set_limit(self, pixels_s: float) -> None:
        """Lets so many pixels a second pass from now on; inf: all."""
        if pixels_s != self._limit:
            self._limit, self._left = pixels_s, pixels_s * BURST_S
            self.resting = False

    def took(self, pixels: int) -> None:
        """Counts a picture that goes to the decoder."""
        self._left -= pixels

    def admits(self) -> bool:
        """Returns True where a packet that comes now is to be looked at."""
        now_s = self._clock()
        since_s, self._then_s = now_s - self._then_s, now_s
        if self._limit == math.inf:
            return True
        self._left = min(self._left + since_s * self._limit, self._limit * BURST_S)
        self.resting = self._left < self._limit * BURST_S if self.resting else self._left <= 0
        if self.resting:
            self._rested_s = now_s
        return not self.resting
