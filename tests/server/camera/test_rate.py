"""server.camera.rate: every place of a constant rate is filled once, whatever rhythm the pictures come in."""

from fractions import Fraction

import numpy as np
import pytest

from server.camera.rate import CaptureClock, ConstantRate


def places(times_s: list[float], fps: int) -> list[int | None]:
    """How many places each picture finds empty before its own."""
    rate = ConstantRate(Fraction(fps))
    return [rate.place(t_s, t_s) for t_s in times_s]


def test_a_jittering_camera_of_the_same_rate_loses_and_repeats_nothing() -> None:
    """±12 ms at 30 fps, two thirds of the way to the next place's border."""
    jitter = np.random.default_rng(0).uniform(-0.012, 0.012, 300)
    jitter[0] = 0
    assert places([5 + i / 30 + j for i, j in enumerate(jitter)], 30) == [0] * 300


@pytest.mark.parametrize(("source", "output"), [(60, 30), (15, 30), (24, 25), (50, 30), (30, 30)])
def test_another_rate_is_repeated_or_left_out_by_time(source: int, output: int) -> None:
    """Ten seconds in are ten seconds out, to one place."""
    found = places([i / source for i in range(10 * source)], output)
    written = sum(1 + empty for empty in found if empty is not None)
    assert abs(written - 10 * output) <= max(1, output / source)
    assert (None in found) == (source > output)


def test_a_stall_is_filled_by_the_clock_and_the_camera_takes_over_again() -> None:
    """Two seconds without a picture make as many places as two seconds with."""
    rate = ConstantRate(Fraction(30))
    written = 1 + rate.place(0.0, 0.05)
    assert rate.overdue(0.2) == 0  # a late picture is no stall yet
    for i in range(200):
        written += rate.overdue(0.05 + i / 100)
    for i in range(30):
        empty = rate.place(2.0 + i / 30, 2.05 + i / 30)
        written += 0 if empty is None else 1 + empty
    assert abs(written - 90) <= 1


def test_time_that_nobody_read_is_not_made_up_for() -> None:
    """After a reader that stood still for 5 s the next picture finds no empty place."""
    rate = ConstantRate(Fraction(10))
    rate.place(0.0, 0.0)
    rate.shift(4.9)
    assert rate.overdue(5.0) == 0
    assert rate.place(5.0, 5.0) == 0


def test_places_that_are_not_to_be_filled_are_left_out() -> None:
    """Three pictures that a slow reader missed; the next one follows without a gap."""
    rate = ConstantRate(Fraction(10))
    assert rate.place(0.0, 0.0) == 0
    assert rate.place(0.4, 0.4, fill=False) == 0
    assert rate.place(0.5, 0.5) == 0


def test_a_break_in_time_is_filled_for_a_second_at_most() -> None:
    """A machine that slept for an hour does not write an hour."""
    rate = ConstantRate(Fraction(30))
    rate.place(0.0, 0.0)
    assert rate.place(3600.0, 3600.0) == 30
    assert rate.place(3600.0 + 1 / 30, 3600.0) == 0


def test_stamps_of_the_monotonic_clock_are_the_moment_of_capture() -> None:
    """V4L2's stamps are taken as they are, so the delay holds exposure and transfer too."""
    clock = CaptureClock()
    assert [clock.at(100.0 + i, 100.03 + i) for i in range(3)] == [100.0, 101.0, 102.0]


def test_stamps_of_another_clock_are_tied_to_the_quickest_picture() -> None:
    """A source that counts from zero keeps its rhythm; one that jumps is tied anew; none at all is now."""
    clock = CaptureClock()
    assert clock.at(0.0, 500.2) == 500.2
    assert clock.at(1.0, 501.3) == pytest.approx(501.2)  # came 0.1 s later than its rhythm
    assert clock.at(2.0, 502.1) == 502.1  # quicker than the first
    assert clock.at(3.0, 503.2) == pytest.approx(503.1)
    assert clock.at(0.0, 600.0) == 600.0
    assert clock.at(None, 700.0) == 700.0
