"""Admission of participants, and the rate at which each may send. No sockets; the clock is an argument."""

import math

from server.errors import Busy, TooFast, TooLarge

FLOOD_LIMIT = 200  # messages refused before the socket is closed …
FLOOD_MEMORY_S = 5.0  # … unless there was peace this long in between


class Admission:
    """Counts who is relit at once. `enter` raises Busy; `leave` gives the place back."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._inside: set[str] = set()

    def __len__(self) -> int:
        return len(self._inside)

    @property
    def full(self) -> bool:
        """True where the next newcomer gets Busy."""
        return len(self._inside) >= self.limit

    def enter(self, session: str) -> None:
        """Takes a place; a session that has one keeps it."""
        if session not in self._inside and self.full:
            raise Busy(
                f"all {self.limit} places are taken",
                "try again in a minute, or raise RELIGHT_MAX_SESSIONS on the server",
            )
        self._inside.add(session)

    def leave(self, session: str) -> None:
        """Gives the place back, if `session` has one."""
        self._inside.discard(session)


class TokenBucket:
    """Lets `burst` pass at once, `rate` a second in the long run. The clock is an argument."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._then_s = burst, float("-inf")

    def take(self, now_s: float) -> bool:
        """Returns True where one more may pass."""
        if math.isfinite(self._then_s):
            self._tokens = min(self._burst, self._tokens + (now_s - self._then_s) * self._rate)
        self._then_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class FloodGuard:
    """Refuses messages that are too long or come too fast, and counts those refused for their pace."""

    def __init__(self, max_length: int, rate: int, burst: int) -> None:
        self._max_length, self._rate = max_length, rate
        self._bucket = TokenBucket(rate, burst)
        self._refused, self._refused_s = 0, float("-inf")

    @property
    def exceeded(self) -> bool:
        """True once FLOOD_LIMIT messages in a row were refused: the socket is to be closed."""
        return self._refused >= FLOOD_LIMIT

    def check(self, text: str, now_s: float) -> None:
        """Raises TooLarge or TooFast for a message that may not pass."""
        if len(text) > self._max_length:
            raise TooLarge(f"the message has {len(text)} characters", f"send at most {self._max_length}")
        if self._bucket.take(now_s):
            return
        self._refused = self._refused + 1 if now_s - self._refused_s < FLOOD_MEMORY_S else 1
        self._refused_s = now_s
        raise TooFast("messages come too fast", f"send at most {self._rate} a second")
