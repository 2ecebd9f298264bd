"""Health decides, frame by frame, whether the picture goes on untouched; leaving ok is quick, coming back is earned."""

import pytest

from engine.live.health import BACKOFF_S, GOOD_S, LONGEST_GOOD_S, PROOFS, STALL_S, STEADY_S, Health

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


def seconds_until_ok(health: Health, now: float, step: float = STEP) -> float:
    """From the first good result on."""
    for n in range(1000):
        if health.result(0.02, now + n * step):
            assert n + 1 >= PROOFS
            return n * step
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


def test_it_takes_good_results_for_a_while_to_come_back() -> None:
    """Many at once are not enough, and a late one starts the time again."""
    health = healthy()
    now = fall_behind(health, 0.0)
    for _ in range(100):
        assert not health.result(0.02, now)
    assert not health.result(STALL_S, now + GOOD_S)
    assert seconds_until_ok(health, now + GOOD_S) == pytest.approx(GOOD_S, abs=STEP)


@pytest.mark.parametrize("step", [STEP, 3 * STEP, 0.5])
def test_the_rate_of_the_pictures_does_not_delay_the_return(step: float) -> None:
    """At 2 or at 30 results a second it takes the same time, but PROOFS results at least."""
    health = healthy()
    assert seconds_until_ok(health, fall_behind(health, 0.0), step) == pytest.approx(max(GOOD_S, 2 * step), abs=step)


def test_each_relapse_asks_for_more() -> None:
    """An engine that keeps falling behind does not make the light blink: each return takes twice as long."""
    health = healthy()
    needed, now = [], 0.0
    for _ in range(9):
        now = fall_behind(health, now)
        needed.append(seconds_until_ok(health, now))
        now += needed[-1]
    assert needed[:4] == pytest.approx([GOOD_S, 2 * GOOD_S, 4 * GOOD_S, 8 * GOOD_S], abs=STEP)
    assert max(needed) < LONGEST_GOOD_S + 2 * STEP
    now += STEADY_S + 5
    for _ in range(3):  # a steady time forgives
        health.arrived(now)
        health.result(0.02, now)
    now = fall_behind(health, now)
    assert seconds_until_ok(health, now) == pytest.approx(GOOD_S, abs=STEP)


def test_backoff_grows_to_its_limit_and_is_forgiven() -> None:
    """0.5, 1, 2, 4, 8, 8 seconds; after a steady time it begins again."""
    health = healthy()
    waits = []
    for _ in range(6):
        waits.append(health.failed("broken"))
        health.opened(0.0)
    assert waits == [0.5, 1, 2, 4, BACKOFF_S[1], BACKOFF_S[1]]
    assert seconds_until_ok(health, 0.0) == pytest.approx((PROOFS - 1) * STEP)
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
    assert seconds_until_ok(health, 2.0) == pytest.approx((PROOFS - 1) * STEP)
    assert (health.state, health.message) == ("ok", "")
