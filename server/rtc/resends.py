"""Resends says which of the packets that a receiver lost are sent again.

aiortc (1.16) answers every request. A line that suddenly carries less loses most packets, receivers ask for each
several times, and the answers then fill the line: no new picture gets through. As in libwebrtc, one that is on its way
already is not sent again, and all of them together get a share of the bit rate. No sockets; the clock is an argument.
"""

import math
import time
from collections.abc import Callable

SHARE = 0.5  # of the pictures' bit rate
SAVED_S = 0.5  # for which the share is saved up: losses come in bursts
UNKNOWN_WAY_S = 0.05  # there and back, before a report told it
REMEMBERED = 1024  # packets; older ones are no longer kept by the sender


class Resends:
    """One receiver's requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_s: dict[int, float] = {}  # sequence number → when it was sent again
        self._saved_bits, self._counted_s = math.inf, clock()

    def admit(self, number: int, size: int, target_bps: int, way_s: float | None) -> bool:
        """Returns True where packet `number` of `size` bytes is to be sent again now, and counts it.

        `target_bps` is the bit rate of the pictures, `way_s` the time of a packet there and back.
        """
        now_s = self._clock()
        if now_s - self._sent_s.get(number, float("-inf")) < (UNKNOWN_WAY_S if way_s is None else way_s):
            return False
        share_bps = SHARE * target_bps
        saved = self._saved_bits + share_bps * (now_s - self._counted_s)
        self._saved_bits, self._counted_s = min(share_bps * SAVED_S, saved), now_s
        if self._saved_bits < 8 * size:
            return False
        self._saved_bits -= 8 * size
        self._sent_s.pop(number, None)  # the newest last
        self._sent_s[number] = now_s
        if len(self._sent_s) > REMEMBERED:
            del self._sent_s[next(iter(self._sent_s))]
        return True
