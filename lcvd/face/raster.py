"""Mesh in pixels → what every pixel sees: triangle id, barycentrics, depth (z-buffer, nearest wins).

A pixel in row i, column j is sampled at its centre (j + 0.5, i + 0.5). Edges are inclusive and a tie in depth goes to
the lower triangle index, so the picture does not depend on the order of arithmetic. Nothing is culled: the caller
decides by normal. Affine (weak-perspective) interpolation, edge functions after Pineda, "A Parallel Algorithm for
Polygon Rasterization" (SIGGRAPH 1988). tests/lcvd/face/test_raster.py has a slow reference.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.protocols import Raster
from lcvd.types import FloatArray

MAX_SIDE_PX = 8192


def rasterize(vertices: FloatArray, triangles: NDArray[np.int32], size: tuple[int, int]) -> Raster:
    """Draw `triangles` [M,3] over `vertices` [V,3] (x right, y down, z to the viewer, px); `size` = (height, width).

    Raises ShapeError when an array has the wrong rank, an index is outside the vertices or the size is impossible.
    Triangles with a vertex that is not finite are left out.
    """
    vertices, triangles = checked_mesh(vertices, triangles)
    height, width = size
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise ShapeError(f"size (height, width) = {size}", f"both sides must be in 1…{MAX_SIDE_PX}")
    triangle = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), -np.inf, np.float32)
    _draw(vertices, triangles, triangle, barycentric, depth)
    return Raster(triangle, barycentric, depth)


def interpolate(raster: Raster, triangles: NDArray[np.int32], attributes: FloatArray) -> FloatArray:
    """Interpolate vertex `attributes` [V,A] at every pixel: float32 [H,W,A], zero where nothing was drawn."""
    attributes = np.ascontiguousarray(attributes, np.float32)
    if attributes.ndim != 2:
        raise ShapeError(f"attributes has shape {attributes.shape}", "give [V,A]")
    out = np.zeros((*raster.triangle.shape, attributes.shape[1]), np.float32)
    _interpolate(raster.triangle, raster.barycentric, np.ascontiguousarray(triangles, np.int32), attributes, out)
    return out


def checked_mesh(vertices: FloatArray, triangles: NDArray[np.int32]) -> tuple[FloatArray, NDArray[np.int32]]:
    """Return both as contiguous float32 and int32 after checks of rank and indices. Raises ShapeError."""
    vertices = np.ascontiguousarray(vertices, np.float32)
    triangles = np.ascontiguousarray(triangles, np.int32)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ShapeError(f"vertices has shape {vertices.shape}", "give [V,3]: x, y, z in pixels")
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ShapeError(f"triangles has shape {triangles.shape}", "give [M,3] vertex indices")
    if triangles.size and not (triangles.min() >= 0 and triangles.max() < len(vertices)):
        raise ShapeError(
            f"triangles index {triangles.min()}…{triangles.max()} of {len(vertices)} vertices", "use 0…V-1"
        )
    return vertices, triangles


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw(vertices, triangles, triangle, barycentric, depth):  # type: ignore[no-untyped-def]
    height, width = triangle.shape
    for m in range(triangles.shape[0]):
        a, b, c = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        bx, by, bz = vertices[b, 0], vertices[b, 1], vertices[b, 2]
        cx, cy, cz = vertices[c, 0], vertices[c, 1], vertices[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not (np.isfinite(area) and np.isfinite(az + bz + cz)) or abs(area) < 1e-9:
            continue
        inverse = np.float32(1.0) / area
        # Clamp before the integer conversion: a far vertex would overflow it.
        left = int(np.floor(min(max(min(ax, bx, cx) - 0.5, 0.0), width)))
        right = int(np.ceil(max(min(max(ax, bx, cx) - 0.5, width - 1.0), -1.0)))
        top = int(np.floor(min(max(min(ay, by, cy) - 0.5, 0.0), height)))
        bottom = int(np.ceil(max(min(max(ay, by, cy) - 0.5, height - 1.0), -1.0)))
        for i in range(top, bottom + 1):
            y = np.float32(i + 0.5)
            for j in range(left, right + 1):
                x = np.float32(j + 0.5)
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inverse
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inverse
                w = np.float32(1.0) - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                z = u * az + v * bz + w * cz
                if z > depth[i, j]:
                    depth[i, j] = z
                    triangle[i, j] = m
                    barycentric[i, j, 0] = u
                    barycentric[i, j, 1] = v
                    barycentric[i, j, 2] = w


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _interpolate(triangle, barycentric, triangles, attributes, out):  # type: ignore[no-untyped-def]
    height, width, count = out.shape
    for i in range(height):
        for j in range(width):
            m = triangle[i, j]
            if m < 0:
                continue
            a, b, c = triangles[m, 0], triangles[m, 1], triangles[m, 2]
            u, v, w = barycentric[i, j, 0], barycentric[i, j, 1], barycentric[i, j, 2]
            for k in range(count):
                out[i, j, k] = u * attributes[a, k] + v * attributes[b, k] + w * attributes[c, k]
