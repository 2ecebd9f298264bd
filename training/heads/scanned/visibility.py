"""visible says which pixels a light reaches: depth maps seen from each light, compared with the pixel's own place.

Shadow mapping after Williams, "Casting Curved Shadows on Curved Surfaces" (SIGGRAPH 1978), with a comparison smoothed
over the four nearest texels (percentage-closer filtering, Reeves et al., SIGGRAPH 1987).
"""

import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray

SIDE = 160  # texels of a map
BIAS_CM, SOFT_CM = 0.35, 0.5


def depth_maps(
    points: FloatArray, triangles: NDArray[np.int32], directions: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Returns maps [N,SIDE,SIDE] of what each light sees first, and [N,4,3], which maps a point (homogeneous) there.

    `points` [V,3] in cm, `directions` [N,3] unit, toward the light. A map holds the distance toward the light, cm.
    """
    maps = np.full((len(directions), SIDE, SIDE), -1e9, np.float32)
    frames = np.zeros((len(directions), 4, 3), np.float32)
    points = np.ascontiguousarray(points, np.float32)
    seen = np.empty_like(points)
    for n, direction in enumerate(directions.astype(np.float64)):
        across = np.cross(direction, [0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0])
        across /= np.linalg.norm(across)
        axes = np.stack([across, np.cross(direction, across), direction], 1).astype(np.float32)
        left, bottom, extent = _turned(points, axes, seen)
        scale = np.float32((SIDE - 2) / max(extent, 1e-3))
        frames[n, :3] = axes * np.array([scale, scale, 1.0], np.float32)
        frames[n, 3, :2] = 1 - left * scale, 1 - bottom * scale
        seen[:, :2] = seen[:, :2] * scale + frames[n, 3, :2]
        _draw(seen, triangles, maps[n])
    return maps, frames


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _turned(points, axes, out):  # type: ignore[no-untyped-def]
    """Writes points [V,3] in the light's axes; returns the least x and y, and the larger of the two extents."""
    left = bottom = np.float32(1e9)
    right = top = np.float32(-1e9)
    for n in range(len(points)):
        for k in range(3):
            out[n, k] = points[n, 0] * axes[0, k] + points[n, 1] * axes[1, k] + points[n, 2] * axes[2, k]
        left, right = min(left, out[n, 0]), max(right, out[n, 0])
        bottom, top = min(bottom, out[n, 1]), max(top, out[n, 1])
    return left, bottom, max(right - left, top - bottom)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw(v, triangles, depth):  # type: ignore[no-untyped-def]
    side = depth.shape[0]
    for m in range(len(triangles)):
        a, b, c = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        ax, ay, bx, by, cx, cy = v[a, 0], v[a, 1], v[b, 0], v[b, 1], v[c, 0], v[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-7:
            continue
        inverse = np.float32(1.0) / area
        left, right = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0), min(int(np.floor(max(ax, bx, cx) - 0.5)), side - 1)
        top, bottom = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0), min(int(np.floor(max(ay, by, cy) - 0.5)), side - 1)
        for i in range(top, bottom + 1):
            y = np.float32(i) + np.float32(0.5)
            for j in range(left, right + 1):
                x = np.float32(j) + np.float32(0.5)
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inverse
                w = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inverse
                t = np.float32(1.0) - u - w
                if u < 0 or w < 0 or t < 0:
                    continue
                z = u * v[a, 2] + w * v[b, 2] + t * v[c, 2]
                if z > depth[i, j]:
                    depth[i, j] = z


@numba.njit(nogil=True, inline="always")
def lit(depth, frame, x, y, z):  # type: ignore[no-untyped-def]
    """Returns how much of a light with map `depth` reaches the point, 0…1."""
    side = depth.shape[0]
    u = x * frame[0, 0] + y * frame[1, 0] + z * frame[2, 0] + frame[3, 0] - np.float32(0.5)
    v = x * frame[0, 1] + y * frame[1, 1] + z * frame[2, 1] + frame[3, 1] - np.float32(0.5)
    own = x * frame[0, 2] + y * frame[1, 2] + z * frame[2, 2] + np.float32(BIAS_CM)
    j, i = int(np.floor(u)), int(np.floor(v))
    if i < 0 or j < 0 or i >= side - 1 or j >= side - 1:
        return np.float32(1.0)
    fu, fv = u - np.float32(j), v - np.float32(i)
    total = np.float32(0.0)
    for di in range(2):
        for dj in range(2):
            weight = (fv if di else np.float32(1.0) - fv) * (fu if dj else np.float32(1.0) - fu)
            over = (depth[i + di, j + dj] - own) * np.float32(1 / SOFT_CM)
            total += weight * (np.float32(1.0) - min(max(over, np.float32(0.0)), np.float32(1.0)))
    return total
