"""Decides how long the sound is held back, from the delay of each picture that is sent. Seconds throughout.

While the picture holds still (the source, the engine or the network stalls) nothing is told here, and the sound goes on
as it was: a delay that grew with the age of the picture would stop the voice, and lips that do not move cannot be out
of step with it. The first picture after it says where to go on.
"""

import statistics
from collections import deque

WINDOW = 15  # pictures whose median counts: half a second
STEP_S = 0.030  # so much off, three times in a row to the same side, is another delay and no jitter
STEP_PICTURES = 3


class DelayMatch:
    """The delay of the pictures lately: a median, but another engine's from its first picture on."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._showing: str | None = None

    def picture(self, delay_s: float, showing: str) -> None:
        """Takes the delay of a picture as it is sent, and the name of what made it."""
        if showing != self._showing:
            self._showing = showing
            self._recent.clear()
        self._recent.append(delay_s)
        newest = list(self._recent)[-STEP_PICTURES:]
        off = [delay - self.delay_s for delay in newest]
        if len(off) == STEP_PICTURES and (min(off) > STEP_S or max(off) < -STEP_S):
            self._recent = deque(newest, maxlen=WINDOW)
        self.delay_s = statistics.median(self._recent)
