"""The One-Euro filter: steady at rest, prompt in motion, the same at any frame rate."""

import math

import numpy as np
import pytest

from lcvd.tracking.smooth import OneEuro, OneEuroSettings, alpha


def one_euro_slow(values, times, scale, s):
    """Casiez et al. 2012, written as the paper has it: one point, one step at a time, plain floats."""
    out, x, dx = [list(values[0])], list(values[0]), [0.0] * len(values[0])
    for previous, t, value in zip(times, times[1:], values[1:], strict=False):
        dt = t - previous
        a = 1 / (1 + (1 / (2 * math.pi * s.derivative_cutoff_hz)) / dt)
        dx = [a * ((v - p) / (dt * scale)) + (1 - a) * d for v, p, d in zip(value, x, dx, strict=True)]
        cutoff = s.min_cutoff_hz + s.beta * math.sqrt(sum(d * d for d in dx))
        a = 1 / (1 + (1 / (2 * math.pi * cutoff)) / dt)
        x = [a * v + (1 - a) * p for v, p in zip(value, x, strict=True)]
        out.append(x)
    return out


def run(values, times, scale=100.0, settings=None):
    smooth = OneEuro(settings)
    return np.array([smooth(v, t, scale) for v, t in zip(values, times, strict=True)])


def test_it_is_the_filter_of_the_paper():
    """The vectorised filter equals the paper's recurrence, point by point, on uneven timestamps."""
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.005, 0.08, 40))
    values = np.cumsum(rng.normal(0, 3, (40, 5, 3)), 0).astype(np.float32)
    fast = run(values, times)
    for n in range(5):
        slow = one_euro_slow(values[:, n].tolist(), times.tolist(), 100.0, OneEuroSettings())
        np.testing.assert_allclose(fast[:, n], slow, atol=2e-3)


def test_a_still_face_trembles_less():
    """Noise on a still point is cut to less than 60 %."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.2, (120, 50, 2)).astype(np.float32)
    smooth = run(noise, np.arange(120) / 30)
    assert smooth[30:].std() < 0.6 * noise[30:].std()


def test_a_fast_face_is_not_left_behind():
    """At two face widths a second the filter trails by less than 3 % of a face width."""
    times = np.arange(30) / 30
    path = (200.0 * times)[:, None, None] * np.ones((1, 4, 2), np.float32)
    assert np.abs(run(path, times)[10:] - path[10:]).max() < 3.0


@pytest.mark.parametrize("fps", [15, 60])
def test_the_curve_does_not_depend_on_the_frame_rate(fps):
    """The same motion sampled at 15 or 60 fps gives the curve of 30 fps to within 1 px of 40."""

    def curve(rate):
        times = np.arange(0, 2, 1 / rate)
        path = (40 * np.sin(2 * np.pi * 0.5 * times))[:, None, None] * np.ones((1, 1, 2))
        return np.interp(np.linspace(0.5, 1.9, 15), times, run(path.astype(np.float32), times)[:, 0, 0])

    assert np.abs(curve(fps) - curve(30)).max() < 1.0


def test_near_and_far_faces_are_treated_alike():
    """Twice the size and twice the scale is exactly twice the answer."""
    rng = np.random.default_rng(3)
    values = np.cumsum(rng.normal(0, 1, (30, 4, 3)), 0).astype(np.float32)
    times = np.arange(30) / 30
    np.testing.assert_allclose(run(values * 2, times, 200.0), 2 * run(values, times, 100.0), rtol=1e-5)


def test_a_reset_forgets_the_past():
    """After reset the next sample passes unchanged."""
    smooth = OneEuro()
    smooth(np.zeros((3, 3), np.float32), 0.0, 1.0)
    smooth.reset()
    value = np.full((3, 3), 7, np.float32)
    np.testing.assert_array_equal(smooth(value, 0.1, 1.0), value)


def test_time_that_stands_still_repeats_and_time_that_runs_back_restarts():
    """The same timestamp gives the same answer; an earlier one starts afresh; neither divides by zero."""
    smooth = OneEuro()
    smooth(np.zeros((1, 3), np.float32), 1.0, 1.0)
    np.testing.assert_array_equal(smooth(np.full((1, 3), 9, np.float32), 1.0, 1.0), np.zeros((1, 3)))
    np.testing.assert_array_equal(smooth(np.full((1, 3), 9, np.float32), 0.5, 1.0), np.full((1, 3), 9))


def test_the_smoothing_factor_is_a_share():
    """The factor of eq. 3 rises from 0 to 1 with the cut-off."""
    factors = [alpha(f, 1 / 30) for f in (0.01, 0.5, 5.0, 500.0)]
    assert factors == sorted(factors)
    assert 0 < factors[0] < 0.01
    assert 0.99 < factors[-1] < 1
