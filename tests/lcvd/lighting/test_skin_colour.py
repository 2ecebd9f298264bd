"""What no skin looks like in white light is taken for the light's colour, and no skin is."""

import numpy as np
import pytest

from lcvd.lighting.colour import LUMA, linear_from_srgb, rgb_from_temperature_k
from lcvd.lighting.skin_colour import DEAD, light_tint, log_tint, soft_threshold, tint_colour

# The Monk Skin Tone scale, sRGB, from tone 1 to tone 10.
MONK = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")
TONES = [linear_from_srgb(np.frombuffer(bytes.fromhex(code), np.uint8)).astype(np.float64) for code in MONK]


@pytest.mark.parametrize("skin", TONES, ids=MONK)
def test_no_skin_is_taken_for_light(skin: np.ndarray) -> None:
    """In white light every tone of the scale says white, also where the camera is 5 % off."""
    for balance in ((1, 1, 1), (1.05, 1, 1), (1, 1, 0.95), (0.97, 1.03, 1)):
        np.testing.assert_array_equal(light_tint(skin * balance), 0)


@pytest.mark.parametrize("skin", TONES, ids=MONK)
@pytest.mark.parametrize("light", [(0.5, 1.6, 0.6), (1.5, 0.4, 1.6), (0.2, 0.6, 3.0)])
def test_a_coloured_lamp_shows_on_every_skin(skin: np.ndarray, light: tuple[float, float, float]) -> None:
    """Blue, green and magenta light is found on pale and dark skin alike, never more of it than there is."""
    found, true = light_tint(skin * light), log_tint(light)
    assert found @ true > 0.8 * np.linalg.norm(found) * np.linalg.norm(true)
    assert 0.25 * true @ true < found @ true < true @ true


def test_a_warm_lamp_could_be_a_brown_skin() -> None:
    """What lies on the line of skins stays: a pale face in 4000 K, a brown one in cold light. Not one by candle."""
    np.testing.assert_array_equal(light_tint(TONES[6] * rgb_from_temperature_k(9000)), 0)
    pale = TONES[1]
    np.testing.assert_array_equal(light_tint(pale * rgb_from_temperature_k(4000)), 0)
    candle = light_tint(pale * rgb_from_temperature_k(1900))
    assert candle[0] > 0.2 > 0 > candle[2]


def test_it_grows_from_nothing() -> None:
    """Between skin and a coloured light there is no step: a tint beside the line counts less DEAD."""
    off = np.array([1.0, -2.0, 1.0]) / np.sqrt(6)
    for length in (0, 0.1, DEAD, DEAD + 0.01, 0.5):
        found = soft_threshold(length * off, DEAD)
        np.testing.assert_allclose(found, max(length - DEAD, 0) * off, atol=1e-12)


def test_a_tint_and_its_colour_are_one_another() -> None:
    """A tint's colour has luminance 1 and that tint; black has none."""
    tint = log_tint((0.9, 0.5, 0.7))
    colour = tint_colour(tint)
    assert colour @ LUMA == pytest.approx(1)
    np.testing.assert_allclose(log_tint(colour), tint, atol=1e-12)
    np.testing.assert_array_equal(log_tint((0, 0, 0)), 0)
