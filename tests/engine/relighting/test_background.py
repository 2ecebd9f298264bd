"""The background's gain follows its mode, and a transition between any two modes never jumps."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from engine.relighting.background import GAIN_MIN, background_gain
from engine.relighting.shading import GAMMA_POWER
from lcvd.lighting.lighting import interpolate
from lcvd.types import Background, DirectionalLight, Lighting

WARM_LEFT = Lighting("warm", (0.2, 0.15, 0.1), (DirectionalLight((-0.8, 0.0, 0.6), (1.4, 0.8, 0.4), 0.3),))
BACKGROUNDS = {
    "keep": Background("keep"),
    "dim": Background("dim", 0.5),
    "hardly dim": Background("dim", 1.0),
    "lit": Background("lit", 0.8),
}


def under(background):
    return replace(WARM_LEFT, background=background)


@pytest.mark.parametrize("amount", [0.3, 1.0])
def test_keep_leaves_the_wall_alone(amount):
    """The gain of a kept background is 1 everywhere, whatever the light."""
    gain = background_gain(under(BACKGROUNDS["keep"]), amount)
    np.testing.assert_allclose(gain, [[1, 1, 1], [0, 0, 0], [0, 0, 0]], atol=1e-6)


def test_dim_takes_the_level_and_some_of_the_light():
    """Dimmed by half, the wall keeps about half its light, warmer than before and brighter on the light's side."""
    centre, right, _ = background_gain(under(BACKGROUNDS["dim"]), 1.0)
    assert centre.mean() ** (1 / GAMMA_POWER) == pytest.approx(0.5, abs=0.12)
    assert centre[0] > 1.1 * centre[2]
    assert right[0] < -0.05


def test_lit_takes_the_shade():
    """A lit background is far brighter on the light's side than a dimmed one."""
    lit, dim = (background_gain(under(BACKGROUNDS[name]), 1.0) for name in ("lit", "dim"))
    assert lit[1, 0] < 1.5 * dim[1, 0] < 0


@pytest.mark.parametrize(("start", "end"), list(permutations(BACKGROUNDS, 2)))
def test_transitions_are_continuous(start, end):
    """In fifty steps between any two modes no step is more than six times its share of the change."""
    a, b = under(BACKGROUNDS[start]), under(BACKGROUNDS[end])
    gains = np.array([background_gain(interpolate(a, b, u), 1.0) for u in np.linspace(0, 1, 51)])
    steps = np.abs(np.diff(gains, axis=0)).max((1, 2))
    assert steps.max() <= 6 * max(np.abs(gains[-1] - gains[0]).max(), 0.02) / 50


def test_gain_is_bounded():
    """A black light leaves the background at the least gain, not at 0."""
    black = Lighting("black", (0.0, 0.0, 0.0), (), background=Background("lit", 0.3))
    np.testing.assert_allclose(background_gain(black, 1.0)[0], GAIN_MIN**GAMMA_POWER, rtol=1e-5)
