"""server.rtc.sound.delay_match and arrival_line: what the sound follows, and what it does not."""

import pytest

from server.rtc.sound.arrival_line import ArrivalLine
from server.rtc.sound.delay_match import DelayMatch


def matched(match: DelayMatch, delays: list[float], showing: str = "ratio") -> float:
    for delay_s in delays:
        match.picture(delay_s, showing)
    return match.delay_s


def test_jitter_is_not_followed() -> None:
    """Single late pictures, even two in a row, leave the delay where it is."""
    match = DelayMatch()
    assert matched(match, [0.05] * 15) == 0.05
    assert matched(match, [0.4, 0.4, 0.05, 0.3, 0.05, 0.05]) == 0.05


def test_another_engine_counts_from_its_first_picture() -> None:
    """`showing` changes: the delay is that picture's at once."""
    match = DelayMatch()
    matched(match, [0.05] * 15)
    assert matched(match, [3.0], "lcvd") == 3.0
    assert matched(match, [0.5], "ratio") == 0.5


def test_another_quality_counts_from_its_third_picture() -> None:
    """The same engine with another delay: three pictures off to the same side are no jitter."""
    match = DelayMatch()
    matched(match, [3.0] * 15)
    assert matched(match, [1.0, 1.1]) == 3.0
    assert matched(match, [1.0]) == pytest.approx(1.0)


def test_a_slow_change_is_followed() -> None:
    """A delay that grows by a millisecond a picture is at most half a window behind."""
    match = DelayMatch()
    for k in range(100):
        match.picture(0.05 + 0.001 * k, "ratio")
        assert match.delay_s == pytest.approx(0.05 + 0.001 * k, abs=0.008)


def test_the_line_is_the_least_of_what_comes() -> None:
    """Waiting in the network does not move it, and is told as lateness."""
    line = ArrivalLine()
    assert not line.known
    for k in range(100):
        line.update(50.0 + 0.02 * k + (0.03 if k % 10 else 0.0), 0.02 * k)
    assert line.offset_s == pytest.approx(50.0)
    assert line.lateness_s == pytest.approx(0.03)


def test_the_line_follows_a_faster_and_a_slower_clock() -> None:
    """100 ppm to either side for a minute: within a millisecond."""
    for drift in (1e-4, -1e-4):
        line = ArrivalLine()
        for k in range(3000):
            line.update(0.02 * k * (1 + drift), 0.02 * k)
        assert line.offset_s == pytest.approx(60 * drift, abs=0.001)


@pytest.mark.parametrize("step_s", [-5.0, -0.2, 0.2, 5.0])
def test_the_line_follows_a_step(step_s: float) -> None:
    """Another way or another clock: earlier counts at once, later within a second, much later at once."""
    line = ArrivalLine()
    for k in range(200):
        line.update(0.02 * k, 0.02 * k)
    late = range(200, 250) if step_s == 0.2 else range(200, 201)
    for k in late:
        line.update(0.02 * k + step_s, 0.02 * k)
    assert line.offset_s == pytest.approx(step_s)
