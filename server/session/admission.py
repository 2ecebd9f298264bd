"""Who may come in, and how fast they may talk. No sockets; the clock is an argument."""

import math

from server.errors import Busy


class Admission:
    """How many are relit at once. `enter` raises Busy; `leave` gives the place back."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._inside: set[str] = set()

    def __len__(self) -> int:
        return len(self._inside)

    @property
    def full(self) -> bool:
        return len(self._inside) >= self.limit

    def enter(self, who: str) -> None:
        """Take a place; whoever has one keeps it."""
        if who not in self._inside and self.full:
            raise Busy(
                f"all {self.limit} places are taken",
                "try again in a minute, or raise RELIGHT_MAX_SESSIONS on the server",
            )
        self._inside.add(who)

    def leave(self, who: str) -> None:
        self._inside.discard(who)


class TokenBucket:
    """At most `burst` at once, `rate` a second in the long run. The clock is an argument."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._then_s = burst, float("-inf")

    def take(self, now_s: float) -> bool:
        """Whether one more may pass."""
        if math.isfinite(self._then_s):
            self._tokens = min(self._burst, self._tokens + (now_s - self._then_s) * self._rate)
        self._then_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
