"""Matrices and pixel ratios at their limits; whole files are in tests/engine/offline."""

from fractions import Fraction

import numpy as np
import pytest

from lcvd.video.display_geometry import MAX_SIDE_PX, orientation, square_pixels

ONE = 1 << 16


def matrix(a: float, b: float, c: float, d: float) -> list[int]:
    return [round(a * ONE), round(b * ONE), 0, round(c * ONE), round(d * ONE), 0, 0, 0, 1 << 30]


@pytest.mark.parametrize(
    "values",
    [
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, 1, -1, 0),
        (0, -1, 1, 0),
        (0, -1, -1, 0),
    ],
)
def test_each_of_the_eight_moves_the_corners_as_the_standard_says(values: tuple) -> None:
    """Stored (p,q) is shown at (ap + cq, bp + dq), shifted into the picture."""
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    a, b, c, d = values
    points = {(a * p + c * q, b * p + d * q): rgb[q, p] for q in range(2) for p in range(3)}
    left, top = min(x for x, _ in points), min(y for _, y in points)
    shown = orientation(matrix(*values)).upright(rgb)
    for (x, y), colour in points.items():
        np.testing.assert_array_equal(shown[y - top, x - left], colour)


def test_matrices_that_are_no_quarter_turn() -> None:
    """The nearest of the eight, with the angle that is missing; zeros, scales and tiny numbers are harmless."""
    cos, sin = np.cos(np.radians(30)), np.sin(np.radians(30))
    found = orientation(matrix(cos, sin, -sin, cos))
    assert (found.swaps, found.flips_x, found.flips_y) == (False, False, False)
    assert found.off_deg == pytest.approx(30, abs=0.01)
    assert orientation([0] * 9).off_deg == 0
    assert orientation(matrix(2, 0, 0, 0.5)).off_deg == 0
    assert orientation([-(2**31)] * 9).off_deg == pytest.approx(45)


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (None, (10, 20)),
        (Fraction(0), (10, 20)),
        (Fraction(1), (10, 20)),
        (Fraction(2), (10, 40)),
        (Fraction(1, 2), (20, 20)),
        (Fraction(-4, 3), (10, 27)),
        (Fraction(50), (10, 20)),
        (Fraction(1, 10**9), (10, 20)),
    ],
)
def test_pixel_ratios(aspect: Fraction | None, shape: tuple[int, int]) -> None:
    """The shorter side of a pixel grows; nonsense is ignored."""
    assert square_pixels(np.zeros((10, 20, 3), np.uint8), aspect).shape[:2] == shape


def test_no_side_grows_past_the_limit() -> None:
    """An 8192 px wide picture of wide pixels shrinks in height instead."""
    assert square_pixels(np.zeros((64, MAX_SIDE_PX, 3), np.uint8), Fraction(4)).shape[:2] == (16, MAX_SIDE_PX)
