"""Pictures of one size brought to another: nothing is distorted, and what is cropped is cropped where it was asked."""

import numpy as np
import pytest

from engine.fit import PORTRAIT_ANCHOR, cover, letterbox


@pytest.mark.parametrize("anchor", [0.0, PORTRAIT_ANCHOR, 0.5, 1.0])
@pytest.mark.parametrize(("height", "width"), [(60, 30), (30, 60), (24, 24), (7, 9)])
def test_cover_keeps_a_square_at_the_anchor(height: int, width: int, anchor: float) -> None:
    """Of a tall picture the anchor's share of the surplus is cropped at the top, of a wide one half on each side."""
    rgb = np.zeros((height, width, 3), np.uint8)
    side = min(height, width)
    top, left = round((height - side) * anchor), (width - side) // 2
    rgb[top : top + side, left : left + side] = 90
    made = cover(rgb, (48, 48), anchor)
    assert made.shape == (48, 48, 3)
    assert (made == 90).all()


@pytest.mark.parametrize("size", [(40, 40), (10, 40), (40, 10), (90, 90)])
def test_letterbox_shows_the_whole_picture_on_black(size: tuple[int, int]) -> None:
    """All of the picture stands in the middle at its own aspect ratio; the rest is black."""
    made = letterbox(np.full((30, 60, 3), 90, np.uint8), size)
    assert made.shape == (*size, 3)
    rows, columns = (np.flatnonzero(made[..., 0].any(axis)) for axis in (1, 0))
    h, w = len(rows), len(columns)
    assert w / h == pytest.approx(2, abs=0.25)
    assert (h, w)[size[0] >= size[1]] in size
    assert (made[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 90).all()
    assert abs(rows[0] - (size[0] - 1 - rows[-1])) <= 1
    assert abs(columns[0] - (size[1] - 1 - columns[-1])) <= 1


@pytest.mark.parametrize("fit", [cover, letterbox])
def test_a_picture_of_that_size_is_itself(fit) -> None:
    """Nothing is copied where nothing changes."""
    rgb = np.zeros((12, 16, 3), np.uint8)
    assert fit(rgb, (12, 16)) is rgb


@pytest.mark.parametrize("fit", [cover, letterbox])
def test_enlarging_interpolates_and_shrinking_averages(fit) -> None:
    """A step enlarged has grey levels between; a fine checkerboard shrunk is flat grey."""
    step = np.zeros((8, 8, 3), np.uint8)
    step[:, 4:] = 200
    assert len(np.unique(fit(step, (32, 32)))) > 3
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(200)
    assert (fit(np.dstack([board] * 3).astype(np.uint8), (16, 16)) == 100).all()
