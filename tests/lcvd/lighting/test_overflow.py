"""lcvd.lighting.overflow: what a panorama's infinite pixels are taken for, and the light that comes of it."""

import numpy as np
import pytest

from lcvd.lighting.environment import lighting_from_equirect
from lcvd.lighting.overflow import HALF_MAX, repaired

SKY = (0.2, 0.22, 0.3)
SUN = (np.inf, 62016.0, 52992.0)


def sky(*pixels: tuple[int, int], value: object = np.inf) -> np.ndarray:
    """A dull panorama [128,256,3] with `value` at the pixels (row, column)."""
    image = np.empty((128, 256, 3), np.float32)
    image[:] = SKY
    for row, column in pixels:
        image[row, column] = value
    return image


def disc(value: object) -> np.ndarray:
    image = sky()
    y, x = np.mgrid[:128, :256]
    image[(y - 40) ** 2 + (x - 90) ** 2 <= 4] = value
    return image


def colour_of_key(image: np.ndarray) -> np.ndarray:
    (key,) = lighting_from_equirect(repaired(image)).directionals
    return np.array(key.rgb) / max(key.rgb)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_sun_that_overflows_in_one_channel_is_white(channel: int) -> None:
    """It used to light the face in that channel's pure colour."""
    value = [62016.0, 58000.0, 52992.0]
    value[channel] = np.inf
    assert colour_of_key(disc(value)).min() > 0.75
    found = repaired(disc(value))
    assert found[40, 90, channel] == HALF_MAX
    assert np.isfinite(found).all()


def test_a_sun_that_overflows_in_all_channels_is_white() -> None:
    """Nothing is left to tell its colour."""
    assert (repaired(disc(np.inf))[40, 90] == HALF_MAX).all()
    np.testing.assert_allclose(colour_of_key(disc(np.inf)), 1, atol=0.01)


def test_a_brighter_sun_in_full_floats_keeps_its_brightness() -> None:
    """One channel of 1e8 says more than 65504."""
    assert repaired(disc((np.inf, 1e8, 5e7)))[40, 90].tolist() == [1e8, 1e8, 5e7]


@pytest.mark.parametrize("pixels", [[(90, 30)], [(90, 30), (90, 31)], [(0, 0)], [(127, 255)], [(20, 9), (100, 200)]])
@pytest.mark.parametrize("value", [np.inf, np.nan, -np.inf, (np.inf, 0.2, 0.2)])
def test_stray_pixels_are_no_light(pixels: list[tuple[int, int]], value: object) -> None:
    """They take the colour around them; the room stays as it is without them."""
    found = repaired(sky(*pixels, value=value))
    np.testing.assert_allclose(found, sky(), rtol=1e-5)
    assert lighting_from_equirect(found).directionals == ()


def test_one_infinite_pixel_inside_a_sun_is_as_bright_as_the_sun() -> None:
    """Not 200 times brighter than the lamp it is a part of."""
    image = disc(300.0)
    image[40, 90] = np.inf
    np.testing.assert_allclose(repaired(image), disc(300.0))


def test_a_dull_patch_with_a_broken_channel_is_no_light() -> None:
    """Infinite red beside dull green and blue, over more than a pixel or two: as bright as the others."""
    assert lighting_from_equirect(repaired(disc((np.inf, 0.22, 0.3)))).directionals == ()


def test_patches_that_are_no_number_are_black() -> None:
    """A large hole is not filled with light."""
    assert (repaired(disc(np.nan))[40, 90] == 0).all()


def test_a_whole_panorama_is_returned_as_it_is() -> None:
    """Finite values are not touched, however large."""
    image = disc((9e5, 8e5, 7e5))
    assert repaired(image) is image


def test_nothing_but_infinity_is_finite_too() -> None:
    """A panorama of nothing else is white."""
    assert (repaired(np.full((16, 32, 3), np.inf, np.float32)) == HALF_MAX).all()


def test_where_a_band_of_rows_ends_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stray pixels, a sun and a hole on its edge come out as from a panorama that is repaired at once."""
    image = np.tile(sky(), (4, 4, 1))
    y, x = np.mgrid[:512, :1024]
    image[(y - 256) ** 2 + (x - 90) ** 2 <= 20] = SUN
    image[(y - 255) ** 2 + (x - 300) ** 2 <= 20] = np.inf
    image[(y - 256) ** 2 + (x - 500) ** 2 <= 20] = np.nan
    image[255, 700] = image[256, 800] = image[254, 900] = np.inf
    banded = repaired(image)
    monkeypatch.setattr("lcvd.lighting.overflow.ROWS", 512)
    np.testing.assert_array_equal(repaired(image), banded)
