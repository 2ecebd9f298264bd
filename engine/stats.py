"""Stats collect stage times, counters and rates from any thread, in bounded memory, and report percentiles.

A stage keeps its last `RING` samples, and a rate counts the events of the last `RATE_WINDOW_S` seconds. The clock is an
argument, so that tests need not wait.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine.cpu_time import CPU

RING = 512  # 17 s at 30 fps: long enough for a p99, short enough to follow a change
RATE_WINDOW_S = 2.0


@dataclass(frozen=True, slots=True)
class StatsSnapshot:
    """The stats at one instant: times in milliseconds, rates in frames per second."""

    stages: dict[str, dict[str, float]] = field(default_factory=dict)  # name -> {p50_ms, p95_ms, p99_ms}
    counters: dict[str, int] = field(default_factory=dict)
    fps_in: float = 0.0
    fps_out: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=lambda: {"p50": 0.0, "p95": 0.0, "p99": 0.0})


class Stats:
    """Collects stage times, counters and rates. Every method may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter, ring: int = RING) -> None:
        self.clock = clock
        self._size = ring
        self._lock = threading.Lock()
        self._stages: dict[str, deque[float]] = {}
        self._counters: dict[str, int] = {}
        self._latency_s: deque[float] = deque(maxlen=ring)
        self._in: deque[float] = deque(maxlen=RING)
        self._out: deque[float] = deque(maxlen=RING)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block of code as one sample of stage `name`, also when it raises; its CPU time counts in CPU."""
        start = self.clock()
        try:
            with CPU.part(name):
                yield
        finally:
            self.add(name, self.clock() - start)

    def add(self, name: str, seconds: float) -> None:
        """Record one sample of stage `name`, in seconds."""
        with self._lock:
            ring = self._stages.get(name)
            if ring is None:
                ring = self._stages[name] = deque(maxlen=self._size)
            ring.append(seconds)

    def count(self, name: str, n: int = 1) -> int:
        """Add `n` to counter `name` and return its new value."""
        with self._lock:
            self._counters[name] = counted = self._counters.get(name, 0) + n
            return counted

    def frame_in(self) -> None:
        """Record that a frame arrived."""
        with self._lock:
            self._in.append(self.clock())

    def frame_out(self, latency_s: float) -> None:
        """Record that a frame left, `latency_s` after it arrived."""
        with self._lock:
            self._out.append(self.clock())
            self._latency_s.append(latency_s)

    def forget_latency(self) -> None:
        """Discard the latency samples, because frames take another path from now on."""
        with self._lock:
            self._latency_s.clear()

    def clear(self) -> None:
        """Discard all samples and counters."""
        with self._lock:
            self._stages.clear()
            self._counters.clear()
            for ring in (self._latency_s, self._in, self._out):
                ring.clear()

    def snapshot(self) -> StatsSnapshot:
        """Return the percentiles of every ring and the rates of the last seconds."""
        with self._lock:  # only copies are made here; percentiles are computed outside, so that no frame waits for them
            stages = {name: list(ring) for name, ring in self._stages.items()}
            counters = dict(self._counters)
            latency = list(self._latency_s)
            now = self.clock()
            fps_in, fps_out = _rate(self._in, now), _rate(self._out, now)
        p50, p95, p99 = percentiles_ms(latency)
        return StatsSnapshot(
            stages={
                name: dict(zip(("p50_ms", "p95_ms", "p99_ms"), percentiles_ms(samples), strict=True))
                for name, samples in stages.items()
            },
            counters=counters,
            fps_in=fps_in,
            fps_out=fps_out,
            latency_ms={"p50": p50, "p95": p95, "p99": p99},
        )


def percentiles_ms(samples_s: list[float]) -> tuple[float, float, float]:
    """Return p50, p95 and p99 of `samples_s` in milliseconds, linear between samples; zeros without samples."""
    if not samples_s:
        return 0.0, 0.0, 0.0
    ordered = sorted(samples_s)  # takes a quarter of numpy's time for a ring of 512
    last = len(ordered) - 1

    def at(share: float) -> float:
        below = int(share * last)
        above = min(below + 1, last)
        value = ordered[below] + (ordered[above] - ordered[below]) * (share * last - below)
        return round(value * 1e3, 3)

    return at(0.50), at(0.95), at(0.99)


def _rate(events: deque[float], now: float) -> float:
    """Return the events per second over the window; 0 once none has come for the whole window."""
    recent = [t for t in events if now - t < RATE_WINDOW_S]
    if len(recent) < 2:
        return 0.0
    span = recent[-1] - recent[0]
    mean_gap = span / (len(recent) - 1)
    # Intervals are counted, one fewer than events; once the next event is overdue the rate decays instead of freezing.
    span = max(span, now - recent[0] - mean_gap)
    return round((len(recent) - 1) / span, 2) if span > 0 else 0.0
