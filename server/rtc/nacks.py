"""Asks again for lost packets, in place of aiortc's (1.16) NackGenerator, which asks once.

A retransmission is lost as easily as a packet: with 5 % loss and 150 packets a second one in three seconds, and the
picture then stands until 128 packets came after it. Here a packet is asked for again, at growing pauses, and given up
after GIVE_UP_S: from then on only a key frame helps.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiortc.rtp import RTP_HISTORY_SIZE
from aiortc.utils import uint16_add, uint16_gt

from server.rtc.path_rate import QUEUE_S
from server.rtc.transport.rtp import ticks_between

FIRST_PAUSE_S = 0.08  # longer than the way there and back on most networks; senders ignore what comes sooner
PAUSE_GROWTH = 1.5
GIVE_UP_S = 0.5
MANY = 10  # packets lost while others come later by QUEUE_S than they did: the line is full
SHORTEST_FOR_S = 5.0  # then the shortest delay is looked for anew: clocks drift, and ways change
CLOCK_RATE = 90_000  # of all video (RFC 3551, 5)


@dataclass(slots=True)
class _Missing:
    since_s: float
    due_s: float
    pause_s: float = FIRST_PAUSE_S


class RepeatedNacks:
    """Has the attributes of aiortc's generator: `add` and `missing`, the packets to ask for now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.missing: set[int] = set()
        self._clock = clock
        self._newest: int | None = None
        self._delay = RelativeDelay()
        self.full = False  # the line: nothing is asked for until its queue is gone
        self._waiting: dict[int, _Missing] = {}

    def add(self, packet: Any) -> bool:
        """Notes a packet; returns True where some are to be asked for."""
        now_s, number = self._clock(), packet.sequence_number
        if self._newest is None:
            self._newest = number
        if uint16_gt(number, self._newest):
            gap = uint16_add(number, -self._newest) - 1
            for back in range(min(gap, RTP_HISTORY_SIZE), 0, -1):
                self._waiting[uint16_add(number, -back)] = _Missing(now_s, now_s)
            self._newest = number
            queues = self._delay.beyond(now_s, packet.timestamp) > QUEUE_S
            self.full = queues and (self.full or len(self._waiting) >= MANY)
        else:
            self._waiting.pop(number, None)
        if self.full or not self._waiting:
            self.missing.clear()
            return False
        self.missing = {number for number, each in self._waiting.items() if each.due_s <= now_s}
        for number in self.missing:
            each = self._waiting[number]
            each.due_s = now_s + each.pause_s
            each.pause_s *= PAUSE_GROWTH
        return bool(self.missing)

    def give_up(self) -> bool:
        """Forgets every missing packet where one is overdue, or the line is full; returns True then."""
        if not self._waiting:
            return False
        hopeless = self.full or any(self._clock() - each.since_s > GIVE_UP_S for each in self._waiting.values())
        if hopeless:
            self._waiting.clear()
        return hopeless


class RelativeDelay:
    """Says by packets' timestamps how much later they come than the earliest of the last seconds did.

    Sound's `ArrivalLine` takes lateness that lasts half a second for another way; here it is the queue.
    """

    def __init__(self) -> None:
        self._begun_s = float("-inf")  # when the shortest was looked for anew
        self._shortest_s = self._before_s = float("inf")  # since then, and in the time before
        self._timestamp: int | None = None  # of the newest packet, without its turns at 2³²

    def beyond(self, now_s: float, timestamp: int) -> float:
        """Takes a packet that comes now; returns the seconds."""
        if self._timestamp is None:
            self._timestamp = timestamp
        self._timestamp += ticks_between(self._timestamp, timestamp)
        delay_s = now_s - self._timestamp / CLOCK_RATE
        if now_s - self._begun_s > SHORTEST_FOR_S:
            self._begun_s, self._before_s, self._shortest_s = now_s, self._shortest_s, delay_s
        self._shortest_s = min(self._shortest_s, delay_s)
        return delay_s - min(self._shortest_s, self._before_s)
