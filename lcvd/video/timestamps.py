"""Stamps of pictures and sound rise: repeated, falling and missing ones are mended."""


class RisingStamps:
    """Mends the stamps of one stream, in seconds or in whole ticks, which stay whole.

    A fall of more than `jump` is a new start, as where recordings were joined.
    """

    def __init__(self, jump: float) -> None:
        self._jump = jump
        self._offset: float = 0
        self._last: float | None = None

    def __call__(self, stamp: float | None, step: float) -> float:
        """Return `stamp` where it rises, else the last one plus `step`; None and NaN are missing stamps."""
        if stamp is not None and stamp != stamp:
            stamp = None
        if self._last is None:
            self._last = 0 if stamp is None else stamp
            return self._last
        following = self._last + step
        if stamp is not None:
            if stamp + self._offset < self._last - self._jump:
                self._offset = following - stamp
            if stamp + self._offset > self._last:
                following = stamp + self._offset
        self._last = following
        return following
