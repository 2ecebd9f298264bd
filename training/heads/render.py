"""render draws a posed bust under two lights: two linear pictures and a mask, each pixel the mean of SUPER² samples.

Shade is irradiance/π of the light's order-2 SH (`lcvd.lighting.lighting.sh_projection`, as hints use), at least 0,
times albedo times occlusion. One z-buffer serves both lights, so the two pictures differ in nothing else. A slow numpy
version is in tests/training/heads/test_render.py, which compares the two.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.face.raster import rasterize
from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.sh import LAMBERT, Y00, Y1, Y2, Y20
from lcvd.types import FloatArray, Lighting

SUPER = 2
# Hanging hair is a sheet that stands for a volume: its inner side is lit as if it were turned to the viewer, with this
# share of the light.
INSIDE = 0.7


class Posed(NamedTuple):
    """Holds a bust as it lies in the picture."""

    vertices_px: FloatArray  # [B,3] x right, y down, z to the viewer
    normals: FloatArray  # [B,3] unit, y up
    uv: FloatArray  # [B,2] atlas coordinates
    occlusion: FloatArray  # [B]
    triangles: NDArray[np.int32]  # [M,3]
    two_sided: NDArray[np.uint8]  # [M]


def light_polynomial(lighting: Lighting) -> FloatArray:
    """Returns [10,3], with which `irradiance_over_pi` is a polynomial of the normal.

    shade = 1, x, y, z, xy, yz, xz, xx, yy, zz of the normal times this.
    """
    e = sh_projection(lighting).astype(np.float64) * LAMBERT[:, None]
    rows = (
        Y00 * e[0] - Y20 * e[6], Y1 * e[3], Y1 * e[1], Y1 * e[2], Y2 * e[4], Y2 * e[5], Y2 * e[7],
        0.5 * Y2 * e[8], -0.5 * Y2 * e[8], 3 * Y20 * e[6],
    )  # fmt: skip
    return np.array(rows, np.float32)


def render(
    posed: Posed, atlas: FloatArray, lights: tuple[Lighting, Lighting], background: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Returns linear pictures [2,S,S,3] and coverage [S,S] in [0,1] of a bust before `background` [S,S,3]."""
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
    """Returns the triangles that face the viewer or have two sides, which halves the work of the z-buffer."""
    keep = np.empty(len(posed.triangles), np.bool_)
    _facing(posed.vertices_px, posed.triangles, posed.two_sided, keep)
    return posed.triangles[keep], posed.two_sided[keep]


@numba.njit(cache=True, nogil=True)
def _facing(vertices, triangles, two_sided, keep):  # type: ignore[no-untyped-def]
    for m in range(len(triangles)):
        a, b, c = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        ax, ay = vertices[a, 0], vertices[a, 1]
        area = (vertices[b, 0] - ax) * (vertices[c, 1] - ay) - (vertices[b, 1] - ay) * (vertices[c, 0] - ax)
        keep[m] = area < 0 or two_sided[m] > 0  # y runs down: counter-clockwise is negative


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _shade(triangle, bary, triangles, two_sided, attributes, atlas, lights, background, pictures, coverage):  # type: ignore[no-untyped-def]
    size = coverage.shape[0]
    step = triangle.shape[0] // size
    weight = np.float32(1.0) / np.float32(step * step)
    zero, one = np.float32(0.0), np.float32(1.0)
    right, bottom = np.float32(atlas.shape[1] - 1.001), np.float32(atlas.shape[0] - 1.001)
    for i in range(size):
        for j in range(size):
            covered = 0
            r0 = g0 = b0 = r1 = g1 = b1 = zero
            for di in range(step):
                for dj in range(step):
                    r, c = i * step + di, j * step + dj
                    m = triangle[r, c]
                    if m < 0:
                        continue
                    covered += 1
                    v0, v1, v2 = triangles[m, 0], triangles[m, 1], triangles[m, 2]
                    w0, w1, w2 = bary[r, c, 0], bary[r, c, 1], bary[r, c, 2]
                    x = w0 * attributes[v0, 0] + w1 * attributes[v1, 0] + w2 * attributes[v2, 0]
                    y = w0 * attributes[v0, 1] + w1 * attributes[v1, 1] + w2 * attributes[v2, 1]
                    z = w0 * attributes[v0, 2] + w1 * attributes[v1, 2] + w2 * attributes[v2, 2]
                    u = w0 * attributes[v0, 3] + w1 * attributes[v1, 3] + w2 * attributes[v2, 3]
                    v = w0 * attributes[v0, 4] + w1 * attributes[v1, 4] + w2 * attributes[v2, 4]
                    gain = weight * (w0 * attributes[v0, 5] + w1 * attributes[v1, 5] + w2 * attributes[v2, 5])
                    inverse = one / max(np.sqrt(x * x + y * y + z * z), np.float32(1e-6))
                    if two_sided[m] > 0 and z < zero:
                        z = -z
                        gain *= np.float32(INSIDE)
                    x, y, z = x * inverse, y * inverse, z * inverse
                    u, v = min(max(u, zero), right), min(max(v, zero), bottom)
                    ui, vi = int(u), int(v)
                    fu, fv = u - np.float32(ui), v - np.float32(vi)
                    c00, c01 = gain * (one - fu) * (one - fv), gain * fu * (one - fv)
                    c10, c11 = gain * (one - fu) * fv, gain * fu * fv
                    red = c00 * atlas[vi, ui, 0] + c01 * atlas[vi, ui + 1, 0]
                    red += c10 * atlas[vi + 1, ui, 0] + c11 * atlas[vi + 1, ui + 1, 0]
                    green = c00 * atlas[vi, ui, 1] + c01 * atlas[vi, ui + 1, 1]
                    green += c10 * atlas[vi + 1, ui, 1] + c11 * atlas[vi + 1, ui + 1, 1]
                    blue = c00 * atlas[vi, ui, 2] + c01 * atlas[vi, ui + 1, 2]
                    blue += c10 * atlas[vi + 1, ui, 2] + c11 * atlas[vi + 1, ui + 1, 2]
                    r0 += red * _shade_of(lights, 0, 0, x, y, z)
                    g0 += green * _shade_of(lights, 0, 1, x, y, z)
                    b0 += blue * _shade_of(lights, 0, 2, x, y, z)
                    r1 += red * _shade_of(lights, 1, 0, x, y, z)
                    g1 += green * _shade_of(lights, 1, 1, x, y, z)
                    b1 += blue * _shade_of(lights, 1, 2, x, y, z)
            cover = np.float32(covered) * weight
            coverage[i, j] = cover
            rest = one - cover
            pictures[0, i, j, 0] = r0 + rest * background[i, j, 0]
            pictures[0, i, j, 1] = g0 + rest * background[i, j, 1]
            pictures[0, i, j, 2] = b0 + rest * background[i, j, 2]
            pictures[1, i, j, 0] = r1 + rest * background[i, j, 0]
            pictures[1, i, j, 1] = g1 + rest * background[i, j, 1]
            pictures[1, i, j, 2] = b1 + rest * background[i, j, 2]


@numba.njit(inline="always")
def _shade_of(lights, q, k, x, y, z):  # type: ignore[no-untyped-def]
    """Returns the shade of light `q`, channel `k` at a unit normal: Horner form of the polynomial, at least 0."""
    s = lights[q, 0, k] + x * (lights[q, 1, k] + y * lights[q, 4, k] + z * lights[q, 6, k] + x * lights[q, 7, k])
    s += y * (lights[q, 2, k] + z * lights[q, 5, k] + y * lights[q, 8, k]) + z * (lights[q, 3, k] + z * lights[q, 9, k])
    return max(s, np.float32(0.0))
