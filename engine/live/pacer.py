"""The pacer decides when each frame leaves: (frames, now) → (frame, wait_s). Sans-I/O; the clock is an argument.

A frame that comes alone leaves at once: an engine that gives one frame for one frame gets no added delay. Frames
that come together (a window) leave with the spacing of their t_s. A late window re-anchors the schedule; nothing is
ever played faster to catch up, but for a trim of `TRIM` that keeps one bad moment from costing latency for ever.
Order is monotone in t_s: what is not newer than what was put before is refused.
"""

from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from engine.live.mailbox import Mailbox

IDLE_WAIT_S = 1.0  # nothing is scheduled; whoever waits is woken by the next put anyway
SLACK_S = 0.020  # a reader later than this gets the newest due frame instead of the oldest
TRIM = 0.05  # share of the time played by which an idle surplus shrinks
SURPLUS_WINDOWS = 16  # puts for which the surplus must have stood
STALL_S = 0.5  # a schedule further ahead than this is not a surplus but a break in time


class Timed(Protocol):
    @property
    def t_s(self) -> float: ...


F = TypeVar("F", bound=Timed)


class Pacer(Generic[F]):
    """One stream's schedule. Not thread-safe: its owner holds the lock."""

    def __init__(self) -> None:
        self._box: Mailbox[tuple[float, F]] = Mailbox()
        self._last_t_s = float("-inf")
        self._last_due_s = float("-inf")
        self._surplus: deque[float] = deque(maxlen=SURPLUS_WINDOWS)

    def __len__(self) -> int:
        return len(self._box)

    @property
    def drops(self) -> int:
        """Frames given up because nobody came for them in time."""
        return self._box.drops

    def put(self, frames: Sequence[F], now_s: float) -> int:
        """Schedule `frames` (in order); returns how many were taken: those newer than all before."""
        fresh: list[F] = []
        newest = self._last_t_s
        for frame in frames:
            if frame.t_s > newest:
                fresh.append(frame)
                newest = frame.t_s
        if not fresh:
            return 0
        start = self._start(fresh, now_s)
        for frame in fresh:
            self._last_due_s = start + (frame.t_s - fresh[0].t_s)
            self._box.put((self._last_due_s, frame), capacity=max(4, 2 * len(frames)))
        self._last_t_s = newest
        return len(fresh)

    def take(self, now_s: float) -> tuple[F | None, float]:
        """The frame due now, if any, and the seconds until the next one is (0 when it is due already)."""
        while (second := self._box.peek(1)) is not None and second[0] <= now_s - SLACK_S:
            self._box.drop_oldest()  # the reader is slow: the newest due frame wins
        first = self._box.peek()
        if first is None:
            return None, IDLE_WAIT_S
        if first[0] > now_s:
            return None, first[0] - now_s
        self._box.pop()
        following = self._box.peek()
        return first[1], IDLE_WAIT_S if following is None else max(0.0, following[0] - now_s)

    def flush(self) -> int:
        """Forget what is scheduled; order stays monotone. Returns how many frames went."""
        self._last_due_s = float("-inf")
        self._surplus.clear()
        return self._box.clear()

    def _start(self, fresh: list[F], now_s: float) -> float:
        """Returns when the first of `fresh` is due."""
        # Where the schedule so far would put it. In the past: it is late, or the first.
        due = self._last_due_s + (fresh[0].t_s - self._last_t_s)
        if len(fresh) == 1 and self._last_due_s <= now_s:
            return now_s  # came alone and nothing is scheduled ahead of it
        if not now_s < due < now_s + STALL_S:
            self._surplus.clear()
            # Never before a frame already scheduled; else the schedule is anchored here and now.
            return max(now_s, self._last_due_s)
        self._surplus.append(due - now_s)
        if len(self._surplus) == SURPLUS_WINDOWS:
            trim = min(*self._surplus, TRIM * (fresh[-1].t_s - self._last_t_s))
            due -= trim
            self._surplus = deque((s - trim for s in self._surplus), maxlen=SURPLUS_WINDOWS)
        return due
