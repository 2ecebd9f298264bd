"""Model one direction of a bad network: when each packet comes out, or that it is lost. No sockets, no clock."""

import random
from dataclasses import dataclass

JITTER_SPAN_S = 0.04  # for which one drawn delay lasts: packets of a picture are late together, and none overtakes


@dataclass(frozen=True)
class Conditions:
    """The state of a network. The defaults are a good one."""

    delay_s: float = 0.01  # one way
    jitter_s: float = 0.0  # drawn evenly between 0 and this, added
    loss: float = 0.0  # share of the packets
    rate_bps: float = 0.0  # 0: no limit
    queue_s: float = 0.3  # of the bottleneck: what would wait longer is lost
    down: bool = False  # an outage: everything is lost


class Link:
    """One direction. `send` is told when a packet of so many bytes comes in, and returns when it leaves."""

    def __init__(self, conditions: Conditions, seed: int = 0) -> None:
        self.conditions = conditions
        self._random = random.Random(seed)
        self._free_s = 0.0  # when the bottleneck has sent all that waits
        self._last_s = 0.0  # when the last packet leaves
        self._drawn_s, self._late_s = float("-inf"), 0.0

    def send(self, now_s: float, size: int) -> float | None:
        """Returns when the packet comes out; None: it is lost."""
        now = self.conditions
        if now.down or self._random.random() < now.loss:
            return None
        out_s = now_s
        if now.rate_bps:
            start_s = max(now_s, self._free_s)
            if start_s - now_s > now.queue_s:
                return None
            out_s = self._free_s = start_s + size * 8 / now.rate_bps
        if now.jitter_s and now_s - self._drawn_s > JITTER_SPAN_S:
            self._drawn_s, self._late_s = now_s, self._random.uniform(0, now.jitter_s)
        self._last_s = max(self._last_s, out_s + now.delay_s + (self._late_s if now.jitter_s else 0.0))
        return self._last_s
