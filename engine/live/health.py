"""Health of one participant's engine: arrivals, results and failures → warming, ok, behind or failed. Sans-I/O.

It decides frame by frame whether the picture goes on untouched and whether a result may be shown. Leaving ok is
immediate; coming back needs good results for a while, and for a longer one each time it did not last.
"""

from typing import Literal

from engine.protocols import STALL_S

EngineState = Literal["warming", "ok", "behind", "failed", "paused"]

GOOD_AGE = 0.6  # of the stall: an older result is none that ends `behind`
# So long results are good in a row before `behind` ends, first and at most. No longer, or a participant waits for the
# light after a short trouble of the machine; no shorter, or it blinks where the machine cannot keep up.
GOOD_S, LONGEST_GOOD_S = 0.75, 6.0
PROBE_EVERY = 3  # frames; of those the engine is tried with before its results are shown again
PROOFS = 3  # good results at least, also after a failure
STEADY_S = 10.0  # ok for this long: the past is forgiven
BACKOFF_S = (0.5, 8.0)  # first and longest wait before a failed engine is opened again

BEHIND_MESSAGE = "The server cannot keep up; you are seen without the light until it can."


class Health:
    """The state of one participant's engine. Not thread-safe: its owner holds the lock."""

    def __init__(self, stall_s: float = STALL_S, backoff_s: tuple[float, float] = BACKOFF_S) -> None:
        self.state: EngineState = "warming"
        self.message = ""
        self._stall_s = stall_s
        self._backoff_s = backoff_s
        self._failures = 0
        self._relapses = 0
        self._open = False
        self._waiting_since: float | None = None
        self._ok_since = 0.0
        self._good = 0  # results in a row
        self._good_since_s = 0.0
        self._needed_s = 0.0

    def set_timeout(self, stall_s: float) -> None:
        """Another engine follows, whose results may take up to `stall_s`."""
        self._stall_s = stall_s

    def should_process(self, index: int) -> bool:
        """True where the engine gets frame `index`: all while it is ok, a few while it has yet to prove itself.

        Its results are thrown away then, on a machine that may be too busy already.
        """
        return self._open and (self.state == "ok" or index % PROBE_EVERY == 0)

    def opened(self, now_s: float) -> None:
        """The engine's stream is open. After a failure it has yet to prove itself."""
        self._open = True
        self._waiting_since = None
        self._good = 0
        if self.state == "warming":
            self._become_ok(now_s)

    def warming(self, message: str = "") -> None:
        """The engine is being made ready; frames pass untouched meanwhile."""
        self.state, self.message, self._open = "warming", message, False

    def arrived(self, now_s: float) -> bool:
        """A frame came. True: it has to go out untouched, now."""
        if self.state != "ok":
            return True
        if self._waiting_since is None:
            self._waiting_since = now_s
        if now_s - self._ok_since > STEADY_S:
            self._failures = self._relapses = 0
        if now_s - self._waiting_since <= self._stall_s:
            return False
        self.state, self.message = "behind", BEHIND_MESSAGE
        self._good = 0
        self._needed_s = min(GOOD_S * 2.0**self._relapses, LONGEST_GOOD_S)
        self._relapses += 1
        return True

    def result(self, age_s: float, now_s: float) -> bool:
        """A result came, `age_s` after its frame arrived. True: it may be shown."""
        self._waiting_since = None
        if self.state == "ok":
            return True
        if not self._open:
            return False
        if self._good == 0:
            self._good_since_s = now_s
        self._good = self._good + 1 if age_s <= GOOD_AGE * self._stall_s else 0
        if self._good < PROOFS or now_s - self._good_since_s < self._needed_s:
            return False
        self._become_ok(now_s)
        return True

    def failed(self, message: str) -> float:
        """The engine raised or hangs; returns the seconds to wait before it is opened again."""
        self.state, self.message, self._open = "failed", message, False
        self._good, self._needed_s = 0, 0.0
        first, longest = self._backoff_s
        wait = min(longest, first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return wait

    def flushed(self) -> None:
        """Frames under way were thrown away on purpose: nobody waits for them."""
        self._waiting_since = None

    def _become_ok(self, now_s: float) -> None:
        self.state, self.message = "ok", ""
        self._waiting_since = None
        self._ok_since = now_s
