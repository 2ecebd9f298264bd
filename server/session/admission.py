"""Admission of participants, and the rate at which each may send. No sockets; the clock is an argument."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from server.errors import Busy, TooFast, TooLarge

HOLD_S = 10.0  # a place for who is next, or for who lost the connection
LEAST_STAY_S = 5.0  # a shorter stay is a connection that failed, and says nothing of the others
STAY_WEIGHT = 0.2  # of the newest stay in their average
RETRY_S = 10  # for who cannot wait here, as long as no stay is known
FLOOD_LIMIT = 200  # messages refused before the socket is closed …
FLOOD_MEMORY_S = 5.0  # … unless there was peace this long in between


class Place(NamedTuple):
    """The place of one who waits: 1 is next, of how many, and in how many seconds it may be free (None: unknown)."""

    place: int
    of: int
    estimate_s: float | None


class Admission:
    """Counts who is relit at once, and keeps those in order who wait for a place.

    `enter` raises Busy; `leave` gives the place back. A place that is free while somebody waits is held `HOLD_S` for
    who came first, so nobody overtakes. Who lost the connection has the same time to come back to the place.
    """

    def __init__(self, limit: int, max_waiting: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._max_waiting = max_waiting
        self._clock = clock
        self._inside: dict[str, float] = {}  # session → when it came
        self._held: dict[str, float] = {}  # session → until when a place is held for it
        self._waiting: list[str] = []
        self._lost: dict[str, float] = {}  # of those who wait, whose connection was lost → until when they are kept
        self._returning: set[str] = set()  # had a place before, and wait before those who had none
        self._stay_s: float | None = None  # moving average of how long participants stay

    def __len__(self) -> int:
        return len(self._inside)

    @property
    def full(self) -> bool:
        """True where the next newcomer gets Busy."""
        self._advance()
        return len(self._inside) + len(self._held) >= self.limit

    @property
    def waiting(self) -> int:
        """The number of those who wait."""
        self._advance()
        return len(self._waiting)

    @property
    def line(self) -> list[str]:
        """Those who wait, in their order."""
        self._advance()
        return list(self._waiting)

    def enter(self, session: str) -> None:
        """Takes a place; a session that has one, or for which one is held, gets it."""
        self._advance()
        if session in self._inside:
            return
        if self._held.pop(session, None) is None and self.full:
            raise Busy(
                f"all {self.limit} places are taken",
                "try again in a minute, or raise RELIGHT_MAX_SESSIONS on the server",
                retry_after_s=round(self._estimate_s(len(self._waiting) + 1) or RETRY_S),
            )
        self._forget(session)
        self._inside[session] = self._clock()

    def leave(self, session: str) -> None:
        """Gives back whatever `session` has: its place, the one that is held for it, or its turn."""
        self._vacate(session)
        self._forget(session)
        self._advance()

    # ---- those who wait

    def wait(self, session: str) -> Place:
        """Puts `session` at the end of those who wait, once; raises Busy where as many wait as may."""
        self._advance()
        if session not in self._waiting:
            if len(self._waiting) >= self._max_waiting:
                raise Busy(
                    f"all {self.limit} places are taken, and {len(self._waiting)} wait already",
                    "try again in a few minutes, or raise RELIGHT_MAX_SESSIONS on the server",
                )
            ahead = sum(each in self._returning for each in self._waiting)
            self._waiting.insert(ahead if session in self._returning else len(self._waiting), session)
        place = self.place(session)
        assert place is not None  # it was full just now, so nothing is held for it
        return place

    def place(self, session: str) -> Place | None:
        """Returns the place of one who waits; None for everybody else."""
        self._advance()
        if session not in self._waiting:
            return None
        place = self._waiting.index(session) + 1
        return Place(place, len(self._waiting), self._estimate_s(place))

    def holds(self, session: str) -> bool:
        """Returns True while a place is held for `session`, which only has to enter."""
        self._advance()
        return session in self._held

    # ---- those who lost their connection

    def hold(self, session: str) -> None:
        """Keeps the place of a session whose connection ended by itself, for a while."""
        if session in self._inside:
            self._vacate(session)
            self._held[session] = self._clock() + HOLD_S
            self._returning.add(session)

    def lose(self, session: str) -> bool:
        """Keeps the place or the turn of a session whose connection was lost; returns True where it had a place."""
        until_s = self._clock() + HOLD_S
        placed = session in self._inside or session in self._returning
        if session in self._inside or session in self._held:
            self._vacate(session)
            self._held[_lost(session)] = until_s
        elif session in self._waiting:
            self._rename(session, _lost(session))
            self._lost[_lost(session)] = until_s
        self._advance()
        return placed

    def hand_over(self, session: str, heir: str, had_place: bool = False) -> None:
        """Gives `heir` what `session` has or had when it was lost: the place, its turn, or one before the others."""
        had_place |= self.lose(session)
        if self._held.pop(_lost(session), None) is not None:
            self._held[heir] = self._clock() + HOLD_S
        elif _lost(session) in self._waiting:
            del self._lost[_lost(session)]
            self._rename(_lost(session), heir)
        if had_place:
            self._returning.add(heir)
        self._advance()

    def _rename(self, session: str, heir: str) -> None:
        self._waiting[self._waiting.index(session)] = heir
        if session in self._returning:
            self._returning.discard(session)
            self._returning.add(heir)

    # ---- inside

    def _vacate(self, session: str) -> None:
        """Ends the stay of a session, and what is held for it."""
        if (since_s := self._inside.pop(session, None)) is not None:
            self._note_stay(self._clock() - since_s)
        self._held.pop(session, None)

    def _forget(self, session: str) -> None:
        self._returning.discard(session)
        if session in self._waiting:
            self._waiting.remove(session)

    def _note_stay(self, stay_s: float) -> None:
        if stay_s >= LEAST_STAY_S:
            before_s = stay_s if self._stay_s is None else self._stay_s
            self._stay_s = before_s + STAY_WEIGHT * (stay_s - before_s)

    def _estimate_s(self, place: int) -> float | None:
        """Returns when the place may be free: of those inside, one leaves every stay / limit seconds."""
        return None if self._stay_s is None else self._stay_s * place / max(1, self.limit)

    def _advance(self) -> None:
        """Ends what is held in vain, and holds free places for those who wait."""
        now_s = self._clock()
        self._held = {session: until_s for session, until_s in self._held.items() if now_s < until_s}
        for session in [session for session, until_s in self._lost.items() if now_s >= until_s]:
            del self._lost[session]
            self._forget(session)
        while self._waiting and len(self._inside) + len(self._held) < self.limit:
            session = self._waiting.pop(0)
            self._lost.pop(session, None)
            self._held[session] = now_s + HOLD_S


def _lost(session: str) -> str:
    """Returns the name under which something is kept for a session that is gone."""
    return f"lost {session}"


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
