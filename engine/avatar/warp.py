"""Moved mesh + where its vertices lie in the still portrait → where each pixel comes from: z-buffered, span by span.

What `lcvd.face.raster.rasterize` and `interpolate` give, for this one attribute and picture-filling meshes four times
faster: spans instead of boxes, increments instead of barycentrics, nothing kept but place and depth. Spans are a hair
wider than the triangle, so that neighbours leave no gap. The slow twin is those two
(tests/engine/avatar/test_puppet.py).
"""

from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray

HAIR_PX = 1e-3
NOWHERE = 0.0  # what no triangle covers shows the portrait's first pixel


def look_up(vertices: FloatArray, triangles: NDArray[np.int32], places: FloatArray, size: int) -> FloatArray:
    """`vertices` [N,3] px, `places` [N,2] px of the portrait → [size,size,2] float32, nearest triangle wins."""
    where = np.full((size, size, 2), NOWHERE, np.float32)
    depth = np.full((size, size), -np.inf, np.float32)
    _draw(vertices, triangles, places, where, depth)
    return where


def fetch(picture: NDArray[Any], where: FloatArray, border: int = cv2.BORDER_REPLICATE) -> NDArray[Any]:
    """`picture` [H,W] or [H,W,C] at `where` [h,w,2] px (the first pixel's centre is 0.5), bilinear."""
    at = where - np.float32(0.5)  # OpenCV counts from centres
    return np.asarray(cv2.remap(picture, at, None, cv2.INTER_LINEAR, borderMode=border))  # type: ignore[call-overload]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw(vertices, triangles, places, where, depth):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    half, hair = np.float32(0.5), np.float32(HAIR_PX)
    for m in range(triangles.shape[0]):
        a, b, c = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        bx, by, bz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        cx, cy, cz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        area = bx * cy - by * cx
        if not np.isfinite(area + az + bz + cz) or abs(area) < np.float32(1e-6):
            continue
        inverse = np.float32(1.0) / area
        ua, va = places[a, 0], places[a, 1]
        ub, vb, uc, vc = places[b, 0] - ua, places[b, 1] - va, places[c, 0] - ua, places[c, 1] - va
        # Gradients over the picture of depth and of the two places.
        zx, zy = (bz * cy - cz * by) * inverse, (cz * bx - bz * cx) * inverse
        ux, uy = (ub * cy - uc * by) * inverse, (uc * bx - ub * cx) * inverse
        vx, vy = (vb * cy - vc * by) * inverse, (vc * bx - vb * cx) * inverse
        low, high = min(np.float32(0.0), min(by, cy)), max(np.float32(0.0), max(by, cy))
        top = int(np.ceil(min(max(ay + low - half - hair, np.float32(-1.0)), np.float32(height))))
        bottom = int(np.floor(min(max(ay + high - half + hair, np.float32(-1.0)), np.float32(height))))
        for i in range(max(top, 0), min(bottom, height - 1) + 1):
            y = np.float32(i) + half - ay
            left, right = np.float32(1e9), np.float32(-1e9)
            for k in range(3):
                if k == 0:
                    px, py, qx, qy = np.float32(0.0), np.float32(0.0), bx, by
                elif k == 1:
                    px, py, qx, qy = bx, by, cx, cy
                else:
                    px, py, qx, qy = cx, cy, np.float32(0.0), np.float32(0.0)
                if (py > y + hair and qy > y + hair) or (py < y - hair and qy < y - hair):
                    continue
                rise = qy - py
                if abs(rise) < hair:
                    left, right = min(left, min(px, qx)), max(right, max(px, qx))
                else:
                    x = px + (qx - px) * min(max((y - py) / rise, np.float32(0.0)), np.float32(1.0))
                    left, right = min(left, x), max(right, x)
            first = int(np.ceil(min(max(ax + left - half - hair, np.float32(0.0)), np.float32(width))))
            last = int(np.floor(min(max(ax + right - half + hair, np.float32(-1.0)), np.float32(width - 1))))
            x = np.float32(first) + half - ax
            z = az + x * zx + y * zy
            u = ua + x * ux + y * uy
            v = va + x * vx + y * vy
            for j in range(first, last + 1):
                if z > depth[i, j]:
                    depth[i, j] = z
                    where[i, j, 0] = u
                    where[i, j, 1] = v
                z += zx
                u += ux
                v += vx
