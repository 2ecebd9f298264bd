"""lcvd.face.raster against its slow twin, and what happens at the borders."""

import numpy as np
import pytest

from lcvd.errors import ShapeError
from lcvd.face.raster import interpolate, rasterize

TRIANGLE = np.array([[0, 1, 2]], np.int32)


def slow_rasterize(vertices, triangles, size):
    """Every pixel against every triangle, in double precision; also says which pixels are clear of any edge."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    best = np.full(size, -np.inf)
    triangle = np.full(size, -1)
    barycentric = np.zeros((*size, 3))
    clear = np.ones(size, bool)
    for m, (a, b, c) in enumerate(vertices[triangles].astype(float)):
        matrix = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
        if abs(np.linalg.det(matrix)) < 1e-9:
            continue
        uvw = np.linalg.solve(matrix, np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)])).T
        uvw = uvw.reshape(*size, 3)
        z = uvw @ np.array([a[2], b[2], c[2]])
        inside = (uvw >= 0).all(-1)
        clear &= (np.abs(uvw) > 1e-4).all(-1) & ((np.abs(z - best) > 1e-3) | ~inside)
        won = inside & (z > best)
        best[won], triangle[won], barycentric[won] = z[won], m, uvw[won]
    return triangle, barycentric, best, clear


@pytest.mark.parametrize("seed", range(4))
def test_equals_slow_twin(seed):
    """The z-buffer finds the triangle, barycentrics and depth that testing every pixel against every triangle finds."""
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-8, 40, (30, 3)).astype(np.float32)
    triangles = rng.integers(0, 30, (60, 3)).astype(np.int32)
    raster = rasterize(vertices, triangles, (29, 37))
    triangle, barycentric, depth, clear = slow_rasterize(vertices, triangles, (29, 37))
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(raster.triangle[clear], triangle[clear])
    np.testing.assert_allclose(raster.barycentric[clear], barycentric[clear], atol=2e-3)
    np.testing.assert_allclose(raster.depth[clear], depth[clear], atol=2e-2)


def test_attributes_are_linear():
    """Interpolating the vertex positions gives back each pixel's own centre."""
    vertices = np.array([[1, 1, 0], [18, 3, 4], [6, 15, -2]], np.float32)
    raster = rasterize(vertices, TRIANGLE, (20, 20))
    at = interpolate(raster, TRIANGLE, vertices)
    rows, columns = np.nonzero(raster.triangle == 0)
    assert len(rows) > 80
    np.testing.assert_allclose(at[rows, columns, 0], columns + 0.5, atol=1e-3)
    np.testing.assert_allclose(at[rows, columns, 1], rows + 0.5, atol=1e-3)
    assert not at[raster.triangle < 0].any()


def test_shared_edge_leaves_no_gap():
    """Two triangles that form a square cover each of its pixels."""
    vertices = np.array([[2, 2, 0], [14, 2, 0], [14, 14, 0], [2, 14, 0]], np.float32)
    raster = rasterize(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), (16, 16))
    assert (raster.triangle[2:14, 2:14] >= 0).all()
    assert (raster.triangle >= 0).sum() == 144


def test_nearest_wins_whatever_the_order():
    """Depth decides, not the order of the triangles."""
    vertices = np.array([[0, 0, 1], [9, 0, 1], [0, 9, 1], [0, 0, 5], [9, 0, 5], [0, 9, 5]], np.float32)
    for triangles, near in (([[0, 1, 2], [3, 4, 5]], 1), ([[3, 4, 5], [0, 1, 2]], 0)):
        raster = rasterize(vertices, np.array(triangles, np.int32), (9, 9))
        assert raster.triangle[2, 2] == near
        assert raster.depth[2, 2] == 5


def test_far_and_broken_vertices_are_harmless():
    """Vertices far outside or not finite neither crash nor leak into the picture."""
    vertices = np.array([[1e9, 1e9, 0], [-1e9, 1e9, 0], [0, -1e9, 0], [np.nan, 0, 0], [0, 5, 0], [5, 0, 0]], np.float32)
    raster = rasterize(vertices, np.array([[0, 1, 2], [3, 4, 5]], np.int32), (6, 7))
    assert set(np.unique(raster.triangle)) <= {0, -1}
    assert np.isfinite(raster.barycentric).all()


@pytest.mark.parametrize(
    ("vertices", "triangles", "size"),
    [
        (np.zeros((3, 2)), TRIANGLE, (4, 4)),
        (np.zeros((3, 3)), np.zeros((1, 4), np.int32), (4, 4)),
        (np.zeros((2, 3)), TRIANGLE, (4, 4)),
        (np.zeros((3, 3)), TRIANGLE, (0, 4)),
        (np.zeros((3, 3)), TRIANGLE, (4, 100_000)),
    ],
)
def test_wrong_shapes_are_named(vertices, triangles, size):
    """A wrong rank, index or size is refused with the value in the message."""
    with pytest.raises(ShapeError, match=r"\d"):
        rasterize(vertices, triangles, size)
