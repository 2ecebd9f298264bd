"""FreedMemory gives the system back what participants who left have held, 43 MB each.

glibc keeps freed pieces for the next who comes: after twenty at once a process stayed at 1.3 GB that needs 0.26. Its
`malloc_trim` takes 100 ms then, so it runs on a thread, and not for each of many.
"""

import asyncio
import ctypes
import time
from collections.abc import Callable

EVERY_S = 10.0


def malloc_trim() -> Callable[[int], int] | None:
    """Returns glibc's function; None in a system with another allocator."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; no C library by that name; Windows
        return None
    return trim


class FreedMemory:
    """Remembers that somebody left."""

    def __init__(self, trim: Callable[[int], int] | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._trim = trim
        self._clock = clock
        self._left = False
        self._last_s = clock()

    def note(self) -> None:
        """Takes note that a session ended."""
        self._left = True

    async def give_back(self) -> bool:
        """Gives memory back, at most every EVERY_S, where somebody left since. Returns whether it did."""
        now_s = self._clock()
        if self._trim is None or not self._left or now_s - self._last_s < EVERY_S:
            return False
        self._left, self._last_s = False, now_s
        await asyncio.to_thread(self._trim, 0)
        return True
