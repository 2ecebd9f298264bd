"""Light balls: round, antialiased, lit where the light is."""

import cv2
import numpy as np
import pytest

from lcvd.errors import ShapeError
from lcvd.lighting.ball import render_ball, render_sheet
from lcvd.lighting.lighting import studio
from lcvd.lighting.presets import PRESETS, preset


def luma(image):
    return image[..., :3].astype(float) @ [0.2126, 0.7152, 0.0722]


def test_ball_is_a_disc_with_a_soft_edge():
    """Opaque inside, clear in the corners, partly covered only along the border."""
    alpha = render_ball(preset("soft-front").lighting, 64)[..., 3].astype(float) / 255
    assert alpha.sum() == pytest.approx(np.pi * 32**2, rel=0.005)
    y, x = np.mgrid[:64, :64] + 0.5
    radius = np.hypot(x - 32, y - 32)
    assert (alpha[radius < 31] == 1).all()
    assert (alpha[radius > 33] == 0).all()
    edge = alpha[np.abs(radius - 32) < 0.5]
    assert ((edge > 0.05) & (edge < 0.95)).mean() > 0.6


@pytest.mark.parametrize(
    ("azimuth", "elevation", "dx", "dy"), [(60, 0, 1, 0), (-60, 0, -1, 0), (0, 60, 0, -1), (0, -60, 0, 1)]
)
def test_ball_is_bright_on_the_side_of_the_light(azimuth, elevation, dx, dy):
    """The brightest pixel lies on the light's side of the picture."""
    image = luma(render_ball(studio(azimuth, elevation, 0.7), 96))
    y, x = np.unravel_index(np.argmax(image), image.shape)
    assert (x - 48) * dx + (y - 48) * dy > 15


def test_ball_shows_the_colour_of_its_light():
    """Neon is magenta on the left and cyan on the right."""
    ball = render_ball(preset("neon").lighting, 64).astype(int)
    left, right = ball[32, 12], ball[32, 52]
    assert left[0] > left[1] + 40
    assert right[2] > right[0] + 40


def test_every_preset_has_a_picture_of_its_own():
    """No two lights of the gallery look alike."""
    balls = [render_ball(p.lighting, 48)[..., :3].astype(float) for p in PRESETS]
    for i, a in enumerate(balls):
        for j in range(i):
            assert np.abs(a - balls[j]).mean() > 2, (PRESETS[i].name, PRESETS[j].name)


def test_impossible_sizes_are_refused():
    """A size outside 8 to 2048 is a ShapeError with the range."""
    for size in (0, -4, 100_000):
        with pytest.raises(ShapeError, match=str(size)):
            render_ball(PRESETS[0].lighting, size)


def test_sheet_is_a_png_with_every_light():
    """The sheet decodes, has a row for every five lights and a lit ball in every cell."""
    sheet = cv2.imdecode(np.frombuffer(render_sheet(PRESETS, 64), np.uint8), cv2.IMREAD_COLOR)
    rows = -(-len(PRESETS) // 5)
    cell_h, cell_w = (sheet.shape[0] - 8) // rows, sheet.shape[1] // 5
    for i in range(len(PRESETS)):
        centre = sheet[(i // 5) * cell_h + 40, (i % 5) * cell_w + cell_w // 2]
        assert centre.mean() > 45, PRESETS[i].name
    with pytest.raises(ShapeError, match="no lights"):
        render_sheet([])
