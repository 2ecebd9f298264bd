"""Health decides, frame by frame, whether the picture goes on untouched; leaving ok is quick, coming back is earned."""

import pytest

from engine.live.health import BACKOFF_S, GOOD_RUN, REOPEN_RUN, STALL_S, STEADY_S, Health

STEP = 1 / 30


def healthy(now: float = 0.0) -> Health:
    health = Health()
    health.opened(now)
    assert health.state == "ok"
    return health


def fall_behind(health: Health, now: float) -> float:
    while not health.arrived(now):
        now += STEP
    return now


def good_results_until_ok(health: Health, now: float) -> int:
    for n in range(1, 1000):
        if health.result(0.02, now + n * STEP):
            return n
    raise AssertionError("never recovers")


def test_frames_are_untouched_until_the_engine_is_open() -> None:
    """While it warms up the picture goes on."""
    health = Health()
    assert health.arrived(0.0)
    assert not health.should_process(0)
    health.opened(1.0)
    assert not health.arrived(1.0)
    assert health.should_process(0)


def test_silence_makes_behind() -> None:
    """No result for a quarter of a second while frames arrive, and the next frame goes out untouched."""
    health = healthy()
    assert fall_behind(health, 10.0) == pytest.approx(10.0 + STALL_S, abs=2 * STEP)
    assert health.state == "behind"
    assert health.message
    assert health.should_process(0)


def test_an_engine_on_probation_gets_few_frames() -> None:
    """While its results are thrown away it is not fed at full rate; once ok it is."""
    health = healthy()
    assert all(health.should_process(i) for i in range(9))
    fall_behind(health, 0.0)
    assert [i for i in range(9) if health.should_process(i)] == [0, 3, 6]


def test_a_pause_of_the_source_is_not_the_engines_fault() -> None:
    """A muted track that comes back after a minute finds a healthy engine."""
    health = healthy()
    health.arrived(1.0)
    health.result(0.02, 1.02)
    assert not health.arrived(61.0)
    assert health.state == "ok"


def test_slow_but_steady_is_ok() -> None:
    """Five results a second are slow, not behind."""
    health = healthy()
    for i in range(100):
        assert not health.arrived(i * STEP)
        if i % 6 == 5:
            health.result(0.2, i * STEP)
    assert health.state == "ok"


def test_it_takes_a_run_of_good_results_to_come_back() -> None:
    """One good result is not enough, and a late one starts the count again."""
    health = healthy()
    now = fall_behind(health, 0.0)
    for _ in range(GOOD_RUN - 1):
        assert not health.result(0.02, now)
    assert not health.result(STALL_S, now)
    assert good_results_until_ok(health, now) == GOOD_RUN


def test_each_relapse_asks_for_more() -> None:
    """An engine that keeps falling behind does not make the light blink: each return takes twice as long."""
    health = healthy()
    needed, now = [], 0.0
    for _ in range(4):
        now = fall_behind(health, now)
        needed.append(good_results_until_ok(health, now))
    assert needed == [GOOD_RUN, 2 * GOOD_RUN, 4 * GOOD_RUN, 8 * GOOD_RUN]
    now += STEADY_S + 5
    for _ in range(3):  # a steady time forgives
        health.arrived(now)
        health.result(0.02, now)
    now = fall_behind(health, now)
    assert good_results_until_ok(health, now) == GOOD_RUN


def test_backoff_grows_to_its_limit_and_is_forgiven() -> None:
    """0.5, 1, 2, 4, 8, 8 seconds; after a steady time it begins again."""
    health = healthy()
    waits = []
    for _ in range(6):
        waits.append(health.failed("broken"))
        health.opened(0.0)
    assert waits == [0.5, 1, 2, 4, BACKOFF_S[1], BACKOFF_S[1]]
    assert good_results_until_ok(health, 0.0) == REOPEN_RUN
    health.arrived(STEADY_S + 5)
    assert health.failed("broken") == 0.5


def test_failed_stays_failed_until_it_has_proved_itself() -> None:
    """Open again is not well again."""
    health = healthy()
    health.failed("broken")
    assert (health.state, health.message, health.should_process(0)) == ("failed", "broken", False)
    assert health.arrived(1.0)
    assert not health.result(0.01, 1.0)
    health.opened(2.0)
    assert health.should_process(0)
    assert health.arrived(2.0)
    assert good_results_until_ok(health, 2.0) == REOPEN_RUN
    assert (health.state, health.message) == ("ok", "")
