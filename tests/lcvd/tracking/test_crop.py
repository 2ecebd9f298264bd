"""Frame ↔ crop: squares at any angle, at the border, and back."""

import cv2
import numpy as np
import pytest

from lcvd.errors import ShapeError
from lcvd.tracking.crop import Roi, crop, frame_from_crop, paste, require_rgb, roi_around, shrink


def ramp(height=200, width=300):
    """A picture whose red is x/2 and green is y/2 at pixel centres, so that a crop shows where it looked."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return np.rint(np.stack([x / 2, y / 2, np.zeros_like(x)], -1)).astype(np.uint8)


def crop_slow(rgb, roi, size):
    """The crop by the definition: every crop pixel looks up its place in the frame, bilinear, border repeated."""
    matrix = frame_from_crop(roi, size)
    out = np.empty((size, size, 3))
    for v in range(size):
        for u in range(size):
            x, y = matrix @ (u + 0.5, v + 0.5, 1) - 0.5
            x0, y0 = int(np.floor(x)), int(np.floor(y))
            fx, fy = x - x0, y - y0
            xs = np.clip((x0, x0 + 1), 0, rgb.shape[1] - 1)
            ys = np.clip((y0, y0 + 1), 0, rgb.shape[0] - 1)
            four = rgb[np.ix_(ys, xs)].astype(float)
            out[v, u] = np.array([1 - fy, fy]) @ np.einsum("yxc,x->yc", four, (1 - fx, fx))
    return out


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.2])
@pytest.mark.parametrize("centre", [(150, 100), (5, 190)])
def test_the_crop_is_the_bilinear_lookup_of_its_matrix(angle, centre):
    """The fast crop equals the pixel-by-pixel lookup, inside the frame and beyond its border."""
    roi = Roi(*centre, 90.0, angle)
    fast = crop(ramp(), roi, 48)
    assert np.abs(fast - crop_slow(ramp(), roi, 48)).max() <= 1.0


def test_a_strong_reduction_looks_at_the_same_place_without_aliases():
    """A ninefold reduction of a checkerboard is flat grey, and of a ramp it is the same ramp."""
    checker = (np.indices((400, 400)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    grey = crop(checker, Roi(200, 200, 288.0, 0.3), 32)
    assert np.abs(grey.astype(int) - 127).max() < 20
    roi = Roi(150, 100, 150.0, 0.2)
    small = crop(ramp(), roi, 16).astype(float)
    x, y = frame_from_crop(roi, 16) @ (8.0, 8.0, 1.0)
    np.testing.assert_allclose(small[7:9, 7:9].mean((0, 1))[:2], (x / 2, y / 2), atol=1.0)


def test_the_matrix_maps_centre_to_centre_and_turns_clockwise():
    """The middle of the crop is the middle of the square, and +x of the crop points along the angle."""
    matrix = frame_from_crop(Roi(50, 60, 40, np.pi / 2), 20)
    np.testing.assert_allclose(matrix @ (10, 10, 1), (50, 60), atol=1e-4)
    np.testing.assert_allclose(matrix @ (20, 10, 1), (50, 80), atol=1e-4)


def test_the_square_holds_the_points_at_any_angle():
    """Every point lies inside the square around them, with the margin on the long side."""
    rng = np.random.default_rng(4)
    points = rng.normal(0, (30, 50), (40, 2)).astype(np.float32) + 100
    for angle in (0.0, 0.7, -2.0):
        roi = roi_around(points, angle, margin=1.5)
        back = np.linalg.inv(np.vstack([frame_from_crop(roi, 1), (0, 0, 1)]))
        unit = (np.c_[points, np.ones(40)] @ back.T)[:, :2]
        spread = np.ptp(unit, 0)
        assert spread.max() == pytest.approx(1 / 1.5, abs=1e-4)
        np.testing.assert_allclose((unit.min(0) + unit.max(0)) / 2, 0.5, atol=1e-4)


def test_paste_is_the_way_back():
    """A crop pasted over its own square changes the frame by less than resampling does; outside, nothing changes."""
    frame = ramp()
    roi = Roi(150, 100, 64.0, 0.3)
    out = paste(frame, np.full((64, 64, 3), 200, np.uint8), roi, np.ones((64, 64), np.float32))
    np.testing.assert_array_equal(out[100, 150], (200, 200, 200))
    np.testing.assert_array_equal(out[:40], frame[:40])
    same = paste(frame, crop(frame, roi, 64), roi, np.ones((64, 64), np.float32))
    assert np.abs(same.astype(int) - frame)[75:125, 125:175].max() <= 2


def test_paste_refuses_shapes_that_do_not_belong_together():
    """An alpha of another size is a ShapeError that names both."""
    with pytest.raises(ShapeError, match=r"\(8, 8, 3\)"):
        paste(ramp(), np.zeros((8, 8, 3), np.uint8), Roi(1, 1, 1), np.zeros((9, 9), np.float32))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 0, 3), np.uint8),
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
    ],
)
def test_anything_but_a_picture_is_a_shape_error(bad):
    """Empty, grey, RGBA and float frames are named in the error."""
    with pytest.raises(ShapeError, match="rgb"):
        require_rgb(bad)


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (120, 160)])
def test_shrinking_a_frame_is_area_averaging(size):
    """The fast reduction of a smooth picture with texture is within 3 grey levels of averaging every pixel."""
    rng = np.random.default_rng(5)
    texture = cv2.resize(rng.integers(60, 190, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8), size[::-1])
    exact = cv2.resize(texture, (256, 144), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shrink(texture, 256, 144) - exact).mean() < 3
