"""Decides how long the sound is held back, from the delay of each picture that is sent. Seconds throughout.

While the picture holds still (the source, the engine or the network stalls) nothing is told here, and the sound goes on
as it was: a delay that grew with the age of the picture would stop the voice, and lips that do not move cannot be out
of step with it. The first picture after it says where to go on.
"""

from collections import deque
from itertools import pairwise

WINDOW = 15  # pictures whose median counts: half a second
STEP_S = 0.030  # so much off, three times in a row to the same side, is another delay and no jitter
STEP_PICTURES = 3
# The three agree so well: those that waited for one stall, and leave one after the other, differ by a picture's time.
AGREE_S = 0.040
EARLY_S = 0.060  # so much off to this side a single picture is enough after steady ones: none is early by itself


class DelayMatch:
    """The delay of the pictures lately: a median, but another engine's from its first picture on."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._recent: deque[tuple[float, float]] = deque(maxlen=WINDOW)  # when it was sent, its delay
        self._showing: str | None = None

    def picture(self, now_s: float, delay_s: float, showing: str) -> None:
        """Takes the delay of a picture as it is sent, and the name of what made it."""
        early = self._steady() and delay_s < self.delay_s - EARLY_S
        if showing != self._showing or early:
            self._showing = showing
            self._recent.clear()
        self._recent.append((now_s, delay_s))
        if self._is_other():
            self._recent = deque(list(self._recent)[-STEP_PICTURES:], maxlen=WINDOW)
        self.delay_s = self._median()

    def _steady(self) -> bool:
        last = [delay for _, delay in self._recent][-STEP_PICTURES:]
        return len(last) == STEP_PICTURES and all(abs(delay - self.delay_s) < STEP_S for delay in last)

    def _is_other(self) -> bool:
        newest = [delay for _, delay in self._recent][-STEP_PICTURES:]
        off = [delay - self.delay_s for delay in newest]
        aside = min(off) > STEP_S or max(off) < -STEP_S
        return len(newest) == STEP_PICTURES and aside and max(newest) - min(newest) < AGREE_S

    def _median(self) -> float:
        """Returns the median, each picture for as long as it is seen; the newest counts once the next has come.

        So those that leave at once after a stall count for next to nothing.
        """
        seen = list(self._recent)
        if len(seen) < STEP_PICTURES + 1:
            return sorted(delay for _, delay in seen)[len(seen) // 2]
        spans = sorted((delay, after - at) for (at, delay), (after, _) in pairwise(seen))
        left_s = sum(span for _, span in spans) / 2
        for delay, span in spans:
            left_s -= span
            if left_s <= 0:
                return delay
        return spans[-1][0]
