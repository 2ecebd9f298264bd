"""Finds where a source's clock stands on ours: the least of arrival − source time over the last seconds.

The network only ever adds to the way a packet takes, so the least is the way without waiting. A window lets it follow
two clocks that drift apart: 100 ppm over 8 s are 0.8 ms.
"""

import math
from collections import deque

BUCKET_S = 0.25
WINDOW = 32  # buckets: 8 s
LATE_BUCKETS = 16  # of them: lateness is told of the last 4 s
# The first second counts until it is over: what waited while the connection was made says nothing of what comes later.
START_BUCKETS = 4
# Everything this late for so many buckets: the way has changed, or the source's clock, as where a busy microphone
# leaves out sound. Less than 10 ms is forgotten with the window.
STEPS_S = ((2, 0.08), (4, 0.01))
BREAK_S = 1.0  # as late as this there is no doubt


class ArrivalLine:
    """Estimates the offset between a source's clock and ours. Seconds throughout."""

    def __init__(self) -> None:
        self._buckets: deque[list[float]] = deque(maxlen=WINDOW)  # [number, least, greatest] of arrival − source time
        self._started = 0  # number of the bucket after the first second

    @property
    def known(self) -> bool:
        return bool(self._buckets)

    @property
    def offset_s(self) -> float:
        """What to add to a source time for its arrival without waiting; 0 before the first."""
        return min((least for _, least, _ in self._buckets), default=0.0)

    @property
    def lateness_s(self) -> float:
        """How much later than that the latest of the last 4 s came; 0 before the first."""
        recent = list(self._buckets)[-LATE_BUCKETS:]
        if recent and recent[-1][0] >= self._started:
            recent = [bucket for bucket in recent if bucket[0] >= self._started]
        return max((greatest for _, _, greatest in recent), default=self.offset_s) - self.offset_s

    def update(self, arrived_s: float, source_s: float) -> None:
        """Takes the arrival of what the source timed `source_s`."""
        difference = arrived_s - source_s
        if self._buckets and difference - self.offset_s > BREAK_S:
            self._buckets.clear()
        number = math.floor(arrived_s / BUCKET_S)
        if self._buckets and self._buckets[-1][0] == number:
            last = self._buckets[-1]
            last[1], last[2] = min(last[1], difference), max(last[2], difference)
            return
        if not self._buckets:
            self._started = number + START_BUCKETS
        self._forget_before_step()
        self._buckets.append([number, difference, difference])

    def _forget_before_step(self) -> None:
        for count, step_s in STEPS_S:
            recent = list(self._buckets)[-count:]
            if len(self._buckets) > count and min(least for _, least, _ in recent) - self.offset_s > step_s:
                self._buckets.clear()
                self._buckets.extend(recent)
