"""Stats give percentiles, counters and rates, under a fake clock and from several threads."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stats import RATE_WINDOW_S, RING, Stats, percentiles_ms
from tests.engine.fakes import Clock


def test_stage_times_a_block() -> None:
    """A stage lasts as long as the clock moved inside it."""
    clock = Clock()
    stats = Stats(clock)
    with stats.stage("track"):
        clock.now += 0.004
    assert stats.snapshot().stages["track"] == {"p50_ms": 4.0, "p95_ms": 4.0, "p99_ms": 4.0}


def test_stage_times_a_block_that_raises() -> None:
    """A block that raises is timed and its error propagates."""
    clock = Clock()
    stats = Stats(clock)

    def fail() -> None:
        with stats.stage("track"):
            clock.now += 0.002
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert stats.snapshot().stages["track"]["p50_ms"] == 2.0


def test_percentiles_order() -> None:
    """The samples 1…100 ms have p50 50.5, p95 95.05 and p99 99.01."""
    stats = Stats(Clock())
    for ms in range(1, 101):
        stats.add("x", ms / 1e3)
    stage = stats.snapshot().stages["x"]
    assert stage["p50_ms"] == pytest.approx(50.5)
    assert stage["p95_ms"] == pytest.approx(95.05)
    assert stage["p99_ms"] == pytest.approx(99.01)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_percentiles_are_numpys(samples: list[float]) -> None:
    """The quick percentiles equal numpy's."""
    assert percentiles_ms(samples) == pytest.approx(tuple(np.percentile(samples, (50, 95, 99)) * 1e3), abs=2e-3)


def test_ring_forgets() -> None:
    """Old samples are dropped, so memory is bounded and a change shows."""
    stats = Stats(Clock())
    for _ in range(RING):
        stats.add("x", 1.0)
    for _ in range(RING):
        stats.add("x", 0.001)
    assert stats.snapshot().stages["x"]["p99_ms"] == 1.0


def test_rates_count_intervals_and_decay() -> None:
    """30 events a second read 30 fps, fall while nothing comes, and end at 0."""
    clock = Clock()
    stats = Stats(clock)
    for _ in range(90):
        clock.now += 1 / 30
        stats.frame_in()
        stats.frame_out(0.02)
    snap = stats.snapshot()
    assert snap.fps_in == pytest.approx(30, abs=0.1)
    assert snap.latency_ms == {"p50": 20.0, "p95": 20.0, "p99": 20.0}
    clock.now += RATE_WINDOW_S / 2
    assert stats.snapshot().fps_in == pytest.approx(15, abs=1)  # the window now spans one second of silence
    clock.now += RATE_WINDOW_S
    assert stats.snapshot().fps_in == 0.0


def test_counts_from_many_threads() -> None:
    """No count is lost between threads."""
    stats = Stats()

    def work() -> None:
        for _ in range(500):
            stats.count("drops")
            with stats.stage("s"):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stats.snapshot().counters == {"drops": 2000}
