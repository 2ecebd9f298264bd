"""Tells how long a track takes to come, by its sender's reports (RTCP SR): arrival − capture. Sans-I/O.

It is worked out when a report comes, and stands until the next: where the source leaves out sound, as a busy
microphone does, all that follows arrives with later samples, of which the last report knows nothing yet. What a busy
sender reports is itself late now and then, by up to 0.1 s in Chromium 156, so one report that differs has to be
confirmed by the next.
"""

import statistics
from collections import deque
from collections.abc import Callable

from server.rtc.sound.arrival_line import ArrivalLine

REPORTS = 8  # a second apart or, of a sound, five: their median counts
STEP_S = 0.03  # a report that is so far off is a stray one, or the first of another way


class ReportedWay:
    """One track's way, in seconds up to the difference between the sender's clock and ours."""

    def __init__(self, arrivals: ArrivalLine, shift_s: Callable[[], float] = lambda: 0.0) -> None:
        """`arrivals` are of PTS + `shift_s`."""
        self._arrivals, self._shift_s = arrivals, shift_s
        self._ways: deque[float] = deque(maxlen=REPORTS)
        self._stray: float | None = None
        self._early: float | None = None  # a report that came before anything of the track did

    @property
    def way_s(self) -> float | None:
        """Arrival − capture; None before a report came, or anything of the track."""
        if self._early is not None and self._arrivals.known:
            self.report(self._early)
        return statistics.median(self._ways) if self._ways else None

    def report(self, capture_s: float) -> None:
        """Takes a report: what to add to a PTS for the sender's clock at its capture."""
        self._early = None if self._arrivals.known else capture_s
        if self._early is not None:
            return
        way_s = self._arrivals.offset_s + self._shift_s() - capture_s
        known_s, stray_s, self._stray = self.way_s, self._stray, None
        if known_s is None or abs(way_s - known_s) <= STEP_S:
            self._ways.append(way_s)
        elif stray_s is not None and abs(way_s - stray_s) <= STEP_S:
            self._ways = deque([stray_s, way_s], maxlen=REPORTS)
        else:
            self._stray = way_s
