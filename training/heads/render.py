"""A posed bust and two lights → two linear pictures and the mask, each pixel the mean of SUPER² samples.

Shade is irradiance/π of the light's order-2 SH (`lcvd.lighting.sh_projection`, as hints use), at least 0, times albedo
times occlusion. One z-buffer serves both lights, so the two pictures differ in nothing else. The slow twin lives in
tests/training/test_heads_render.py.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.lighting import sh_projection
from lcvd.raster import rasterize
from lcvd.sh import LAMBERT, Y00, Y1, Y2, Y20
from lcvd.types import FloatArray, Lighting

SUPER = 2
INSIDE = 0.35  # light left on the inner side of hanging hair


class Posed(NamedTuple):
    """A bust in the picture."""

    vertices_px: FloatArray  # [B,3] x right, y down, z to the viewer
    normals: FloatArray  # [B,3] unit, y up
    uv: FloatArray  # [B,2] atlas coordinates
    occlusion: FloatArray  # [B]
    triangles: NDArray[np.int32]  # [M,3]
    two_sided: NDArray[np.uint8]  # [M]


def light_polynomial(lighting: Lighting) -> FloatArray:
    """[10,3]: shade = 1, x, y, z, xy, yz, xz, xx, yy, zz of the normal times this: `irradiance_over_pi`, expanded."""
    e = sh_projection(lighting).astype(np.float64) * LAMBERT[:, None]
    rows = (
        Y00 * e[0] - Y20 * e[6], Y1 * e[3], Y1 * e[1], Y1 * e[2], Y2 * e[4], Y2 * e[5], Y2 * e[7],
        0.5 * Y2 * e[8], -0.5 * Y2 * e[8], 3 * Y20 * e[6],
    )  # fmt: skip
    return np.array(rows, np.float32)


def render(
    posed: Posed, atlas: FloatArray, lights: tuple[Lighting, Lighting], background: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Linear pictures [2,S,S,3] and coverage [S,S] in [0,1] of a bust before `background` [S,S,3]."""
    size = background.shape[0]
    triangles, two_sided = _visible(posed)
    raster = rasterize(posed.vertices_px * np.float32(SUPER), triangles, (SUPER * size, SUPER * size))
    attributes = np.column_stack((posed.normals, posed.uv, posed.occlusion)).astype(np.float32)
    polynomials = np.stack([light_polynomial(light) for light in lights])
    pictures = np.empty((2, size, size, 3), np.float32)
    coverage = np.empty((size, size), np.float32)
    _shade(
        raster.triangle, raster.barycentric, triangles, two_sided, attributes, atlas, polynomials, background,
        pictures, coverage,
    )  # fmt: skip
    return pictures, coverage


def _visible(posed: Posed) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Triangles that face the viewer or have two sides: half the work of the z-buffer."""
    x, y = posed.vertices_px[posed.triangles, 0], posed.vertices_px[posed.triangles, 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
    keep = (area < 0) | (posed.two_sided > 0)  # y runs down: counter-clockwise is negative
    return np.ascontiguousarray(posed.triangles[keep]), posed.two_sided[keep]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _shade(triangle, bary, triangles, two_sided, attributes, atlas, lights, background, pictures, coverage):  # type: ignore[no-untyped-def]
    size = coverage.shape[0]
    step = triangle.shape[0] // size
    weight = np.float32(1.0) / np.float32(step * step)
    zero = np.float32(0.0)
    p = np.empty(10, np.float32)
    a = np.empty(6, np.float32)
    for i in range(size):
        for j in range(size):
            covered = 0
            for q in range(2):
                for k in range(3):
                    pictures[q, i, j, k] = zero
            for di in range(step):
                for dj in range(step):
                    r, c = i * step + di, j * step + dj
                    m = triangle[r, c]
                    if m < 0:
                        continue
                    covered += 1
                    v0, v1, v2 = triangles[m, 0], triangles[m, 1], triangles[m, 2]
                    b0, b1, b2 = bary[r, c, 0], bary[r, c, 1], bary[r, c, 2]
                    for k in range(6):
                        a[k] = b0 * attributes[v0, k] + b1 * attributes[v1, k] + b2 * attributes[v2, k]
                    length = np.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])
                    inverse = np.float32(1.0) / max(length, np.float32(1e-6))
                    gain = a[5] * weight
                    if two_sided[m] > 0 and a[2] < zero:
                        inverse = -inverse
                        gain *= np.float32(INSIDE)
                    x, y, z = a[0] * inverse, a[1] * inverse, a[2] * inverse
                    p[0], p[1], p[2], p[3] = np.float32(1.0), x, y, z
                    p[4], p[5], p[6] = x * y, y * z, x * z
                    p[7], p[8], p[9] = x * x, y * y, z * z
                    u = min(max(a[3], zero), np.float32(atlas.shape[1] - 1.001))
                    v = min(max(a[4], zero), np.float32(atlas.shape[0] - 1.001))
                    ui, vi = int(u), int(v)
                    fu, fv = u - np.float32(ui), v - np.float32(vi)
                    for k in range(3):
                        top = atlas[vi, ui, k] + fu * (atlas[vi, ui + 1, k] - atlas[vi, ui, k])
                        low = atlas[vi + 1, ui, k] + fu * (atlas[vi + 1, ui + 1, k] - atlas[vi + 1, ui, k])
                        albedo = (top + fv * (low - top)) * gain
                        for q in range(2):
                            shade = zero
                            for n in range(10):
                                shade += p[n] * lights[q, n, k]
                            pictures[q, i, j, k] += albedo * max(shade, zero)
            cover = np.float32(covered) * weight
            coverage[i, j] = cover
            if covered < step * step:
                for q in range(2):
                    for k in range(3):
                        pictures[q, i, j, k] += (np.float32(1.0) - cover) * background[i, j, k]
