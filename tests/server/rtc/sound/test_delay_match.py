"""server.rtc.sound.delay_match and arrival_line: what the sound follows, and what it does not."""

import pytest

from server.rtc.sound.arrival_line import ArrivalLine
from server.rtc.sound.delay_match import DelayMatch

PERIOD_S = 1 / 15


class Match(DelayMatch):
    """Is told of pictures at a steady pace."""

    now_s = 100.0

    def after(self, delays: list[float], showing: str = "ratio", apart_s: float = PERIOD_S) -> float:
        """Sends a picture of each delay; returns the delay of the sound after the last."""
        for delay_s in delays:
            self.now_s += apart_s
            self.picture(self.now_s, delay_s, showing)
        return self.delay_s


def test_jitter_is_not_followed() -> None:
    """Single late pictures, even two in a row, leave the delay where it is."""
    match = Match()
    assert match.after([0.05] * 15) == 0.05
    assert match.after([0.4, 0.4, 0.05, 0.3, 0.05, 0.05]) == 0.05


@pytest.mark.parametrize("fps", [15, 30])
def test_a_stall_is_not_followed(fps: int) -> None:
    """What waited 0.4 s leaves at once, each picture less late than the one before: the delay is what it was."""
    match = Match()
    match.after([0.05] * 15, apart_s=1 / fps)
    match.now_s += 0.4
    for k in range(round(0.4 * fps)):
        assert match.after([0.45 - k / fps], apart_s=0.001) == 0.05
    assert match.after([0.05] * 15, apart_s=1 / fps) == 0.05


def test_another_engine_counts_from_its_first_picture() -> None:
    """`showing` changes: the delay is that picture's at once."""
    match = Match()
    match.after([0.05] * 15)
    assert match.after([3.0], "lcvd") == 3.0
    assert match.after([0.5], "ratio") == 0.5


def test_a_longer_delay_counts_from_its_third_picture() -> None:
    """The same engine with another quality: three pictures off to the same side, and agreeing, are no jitter."""
    match = Match()
    match.after([1.0] * 15)
    assert match.after([3.0, 3.03]) == 1.0
    assert match.after([3.0]) == pytest.approx(3.0)


def test_a_shorter_delay_counts_from_its_first_picture() -> None:
    """After steady pictures none is early by itself; after unsteady ones three in a row decide."""
    match = Match()
    match.after([3.0] * 15)
    assert match.after([1.0]) == 1.0
    unsteady = Match()
    unsteady.after([0.05, 0.2] * 15)
    assert unsteady.after([0.05, 0.2] * 15) in (0.05, 0.2)
    assert unsteady.after([0.0]) > 0.0


def test_a_slow_change_is_followed() -> None:
    """A delay that grows by a millisecond a picture is at most half a window behind."""
    match = Match()
    for k in range(100):
        assert match.after([0.05 + 0.001 * k]) == pytest.approx(0.05 + 0.001 * k, abs=0.009)


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


@pytest.mark.parametrize("step_s", [-5.0, -0.2, 0.02, 0.2, 5.0])
def test_the_line_follows_a_step(step_s: float) -> None:
    """Another way or another clock: earlier counts at once, later within 1.4 s, much later at once."""
    line = ArrivalLine()
    for k in range(200):
        line.update(0.02 * k, 0.02 * k)
    late = range(200, 270) if step_s in (0.02, 0.2) else range(200, 201)
    for k in late:
        line.update(0.02 * k + step_s, 0.02 * k)
    assert line.offset_s == pytest.approx(step_s)
