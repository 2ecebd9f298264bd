"""The inverse warp rasterises a moved mesh into a uv map: for each pixel, its source position in the still portrait.

It equals `lcvd.face.raster.rasterize` and `interpolate` for this one attribute, and is four times faster on meshes that
fill the picture: spans instead of bounding boxes, increments instead of barycentrics, no buffers but uv and depth.
Spans are SLACK_PX wider than their triangle, so that neighbours leave no gap. tests/engine/avatar/test_puppet.py
compares the two.
"""

from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray

SLACK_PX = 1e-3
UNCOVERED = 0.0  # uv of a pixel that no triangle covers: the portrait's first pixel


def inverse_warp(
    vertices: FloatArray, triangles: NDArray[np.int32], uv: FloatArray, size: int, top: float = -np.inf
) -> FloatArray:
    """Return the uv map [size,size,2] in px of the portrait, float32; the triangle nearest the viewer wins.

    `vertices` [N,3] px are the moved mesh, `triangles` [M,3] its indices, `uv` [N,2] px the vertices in the portrait.
    No pixel comes from above the portrait's row `top`, px.
    """
    uv_map = np.full((size, size, 2), UNCOVERED, np.float32)
    depth = np.full((size, size), -np.inf, np.float32)
    _rasterize(vertices, triangles, uv, np.float32(top), uv_map, depth)
    return uv_map


def remap(
    picture: NDArray[Any], uv_map: FloatArray, border: int = cv2.BORDER_REPLICATE, scratch: FloatArray | None = None
) -> NDArray[Any]:
    """Sample `picture` [H,W] or [H,W,C] bilinearly at `uv_map` [h,w,2] px: [h,w] or [h,w,C].

    The centre of the first pixel is at 0.5. `border` is OpenCV's border mode. `scratch` [h,w,2] is written over; it
    saves a large map the making of a new one.
    """
    at = np.subtract(uv_map, np.float32(0.5), out=scratch)  # OpenCV puts the first centre at 0
    return np.asarray(cv2.remap(picture, at, None, cv2.INTER_LINEAR, borderMode=border))  # type: ignore[call-overload]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _rasterize(vertices, triangles, uv, least, uv_map, depth):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    half, slack = np.float32(0.5), np.float32(SLACK_PX)
    for m in range(triangles.shape[0]):
        a, b, c = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        bx, by, bz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        cx, cy, cz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        area = bx * cy - by * cx
        if not np.isfinite(area + az + bz + cz) or abs(area) < np.float32(1e-6):
            continue
        inverse = np.float32(1.0) / area
        ua, va = uv[a, 0], uv[a, 1]
        ub, vb, uc, vc = uv[b, 0] - ua, uv[b, 1] - va, uv[c, 0] - ua, uv[c, 1] - va
        # The gradients of depth, u and v over the picture.
        zx, zy = (bz * cy - cz * by) * inverse, (cz * bx - bz * cx) * inverse
        ux, uy = (ub * cy - uc * by) * inverse, (uc * bx - ub * cx) * inverse
        vx, vy = (vb * cy - vc * by) * inverse, (vc * bx - vb * cx) * inverse
        low, high = min(np.float32(0.0), min(by, cy)), max(np.float32(0.0), max(by, cy))
        top = int(np.ceil(min(max(ay + low - half - slack, np.float32(-1.0)), np.float32(height))))
        bottom = int(np.floor(min(max(ay + high - half + slack, np.float32(-1.0)), np.float32(height))))
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
                if (py > y + slack and qy > y + slack) or (py < y - slack and qy < y - slack):
                    continue
                rise = qy - py
                if abs(rise) < slack:
                    left, right = min(left, min(px, qx)), max(right, max(px, qx))
                else:
                    x = px + (qx - px) * min(max((y - py) / rise, np.float32(0.0)), np.float32(1.0))
                    left, right = min(left, x), max(right, x)
            first = int(np.ceil(min(max(ax + left - half - slack, np.float32(0.0)), np.float32(width))))
            last = int(np.floor(min(max(ax + right - half + slack, np.float32(-1.0)), np.float32(width - 1))))
            x = np.float32(first) + half - ax
            z = az + x * zx + y * zy
            u = ua + x * ux + y * uy
            v = va + x * vx + y * vy
            for j in range(first, last + 1):
                if z > depth[i, j]:
                    depth[i, j] = z
                    uv_map[i, j, 0] = u
                    uv_map[i, j, 1] = max(v, least)
                z += zx
                u += ux
                v += vx
