"""The working grid surrounds the person with at most 128 cells a side and stays in place while the person does."""

import numpy as np
import pytest

from engine.relighting.grid import GRID, grid_around
from lcvd.face.neutral import centred_face
from tests.engine.synthetic_person import moved


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (640, 360), (17, 16), (244, 244)])
def test_inside_the_frame_and_small(size):
    """The box lies in the frame and has at most GRID cells a side."""
    grid = grid_around(centred_face(size, 0.0), size)
    assert 0 <= grid.x0 < grid.x0 + grid.width <= size[1]
    assert 0 <= grid.y0 < grid.y0 + grid.height <= size[0]
    assert max(grid.rows, grid.cols) <= GRID


def test_small_face_gets_the_cells():
    """Around a small face in a large frame the cells are small."""
    face = centred_face((240, 320), 0.0)
    grid = grid_around(face, (1080, 1920))
    assert grid.cell_px < 4


def test_stays_while_the_person_sways():
    """A few pixels of movement keep the grid itself; a walk across the frame moves it."""
    face = centred_face((240, 320), 0.0)
    grid = grid_around(face, (1080, 1920))
    assert grid_around(moved(face, 6.0), (1080, 1920), grid) is grid
    assert grid_around(moved(face, 900.0), (1080, 1920), grid) is not grid
    assert grid_around(face, (720, 1280), grid) is not grid


def test_sample_is_linear_interpolation():
    """Sampling a ramp gives the ramp at the cells' centres."""
    size = (480, 640)
    grid = grid_around(centred_face((240, 320), 0.0), size)
    y, x = np.mgrid[:120, :160].astype(np.float32) * 4 + 2  # pixel coordinates of the coarse cells' centres
    sampled = grid.sample(x)
    columns = grid.x0 + (np.arange(grid.cols) + 0.5) * grid.width / grid.cols
    inner = (columns > 4) & (columns < 636)
    np.testing.assert_allclose(sampled[grid.rows // 2][inner], columns[inner], atol=0.15)
    assert y.shape == x.shape
