"""Time without I/O: capture stamps on one clock, and pictures of any rhythm at a constant rate."""

import math
from fractions import Fraction

MAX_AGE_S = 0.5  # a picture older than this when it is read has a stamp of another clock
STALL_S = 0.25  # no picture for this long: the one before is repeated by the clock on the wall
MAX_FILL_S = 1.0  # a longer gap is a break in time, not a number of lost pictures


class CaptureClock:
    """Brings a source's own timestamps to the monotonic clock.

    Linux stamps V4L2 pictures with that very clock, so the stamp is the moment of capture; elsewhere a source counts
    from a zero of its own, and the quickest picture so far is taken to have arrived at once.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def at(self, stamp_s: float | None, now_s: float) -> float:
        """Returns the time of a picture that was read at `now_s`; a stamp of None is no stamp."""
        if stamp_s is None:
            return now_s
        if self._offset_s is None:
            self._offset_s = 0.0 if 0 <= now_s - stamp_s <= MAX_AGE_S else now_s - stamp_s
        if not 0 <= now_s - (stamp_s + self._offset_s) <= MAX_AGE_S:
            self._offset_s = now_s - stamp_s
        return stamp_s + self._offset_s


class ConstantRate:
    """Counts the places of an output of constant rate: the picture nearest to a place is written there.

    Places follow the pictures' own times, so a camera that jitters but keeps its rate loses and repeats nothing.
    """

    def __init__(self, fps: Fraction) -> None:
        self.fps = fps
        self._zero_s: float | None = None  # time of place 0
        self._place = -1  # the last one filled
        self._filled_s = 0.0  # when that was
        self._stalled = False

    def place(self, t_s: float, now_s: float, fill: bool = True) -> int | None:
        """Takes the place of a picture of `t_s`. Returns how many before it are still empty; None: it has no place.

        Without `fill` they are left out of the output's time, and the picture has the first of them.
        """
        if self._zero_s is None:
            self._zero_s = t_s
        place = math.floor((t_s - self._zero_s) * self.fps + 0.5)
        empty = place - self._place - 1
        if empty < 0:
            return None
        most = round(MAX_FILL_S * self.fps) if fill else 0
        if empty > most:
            self.shift(float((empty - most) / self.fps))
            place, empty = place - (empty - most), most
        self._place, self._filled_s, self._stalled = place, now_s, False
        return empty

    def overdue(self, now_s: float) -> int:
        """Returns how many places passed while no picture came, and counts them as filled."""
        if self._zero_s is None or now_s - self._filled_s < (0 if self._stalled else STALL_S):
            return 0
        passed = math.floor((now_s - self._filled_s) * self.fps)
        self._place += passed
        self._filled_s += float(passed / self.fps)
        self._stalled = True
        return passed

    def shift(self, seconds: float) -> None:
        """Leaves `seconds` out of the output's time: nobody read during them, and nothing is to be made up for."""
        if self._zero_s is not None:
            self._zero_s += seconds
            self._filled_s += seconds
