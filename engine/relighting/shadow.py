"""Depth field + light direction → the shadow the light casts: a short march through the picture (screen space).

From every cell a ray runs toward the light; where the surface stands higher than the ray it is in shadow. The penumbra
widens with the distance to what throws it, as under a lamp of finite size, so the shadow is crisp where it touches
the nose and soft on the cheek. It is what makes the light look real: nose, brow, chin on the neck. Depth is in face
widths, +z to the viewer; the slow twin lives in tests/engine/relighting/test_shadow.py.
"""

import cv2
import numba
import numpy as np

from lcvd.lighting.lighting import PackedLighting
from lcvd.types import FloatArray

STEPS = 16
REACH_FW = 0.75
BIAS_FW = 0.012
NOTHING_BELOW_FW = -4.0  # what lies this far back is no part of the person
PENUMBRA_FW = 0.07  # depth over which shadow fades in, at full reach; a quarter of it at contact


def cast_shadow(depth: FloatArray, direction: tuple[float, float, float], cell_fw: float) -> FloatArray:
    """`depth` [H,W] in face widths (-inf-like where nothing can throw a shadow) → [H,W], 1 = in full shadow.

    `direction`: unit, from the face to the light, y up. `cell_fw`: side of a cell in face widths.
    """
    out = np.empty_like(depth)
    x, y, z = (np.float32(a) for a in direction)
    _march(depth, x, y, z, np.float32(1 / cell_fw), out)
    radius = max(round(0.02 / cell_fw), 1)
    return cv2.blur(out, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def cast_shadows(depth: FloatArray, light: PackedLighting, cell_fw: float) -> FloatArray:
    """The shadows of the lamps that throw one: [L,H,W], L = up to the last such lamp."""
    thrown = [lamp for lamp in range(light.count) if light.shadows[lamp] > 0 and light.rgbs[lamp].max() > 0]
    out = np.zeros((max(thrown, default=-1) + 1, *depth.shape), np.float32)
    for lamp in thrown:
        out[lamp] = cast_shadow(depth, tuple(light.directions[lamp]), cell_fw)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _march(depth, lx, ly, lz, cells_per_fw, out):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    one = np.float32(1.0)
    zero = np.float32(0.0)
    highest = depth.max()
    for i in range(height):
        for j in range(width):
            start = depth[i, j] + np.float32(BIAS_FW)
            dark = zero
            if depth[i, j] < np.float32(NOTHING_BELOW_FW):
                out[i, j] = zero
                continue
            for k in range(1, STEPS + 1):
                share = np.float32(k) / np.float32(STEPS)
                distance = np.float32(REACH_FW) * share * np.sqrt(share)
                if start + distance * lz > highest:  # above everything: nothing further on can throw a shadow
                    break
                x = j + distance * lx * cells_per_fw
                y = i - distance * ly * cells_per_fw
                if x < zero or y < zero or x > width - 1 or y > height - 1:
                    break
                j0, i0 = int(x), int(y)
                j1, i1 = min(j0 + 1, width - 1), min(i0 + 1, height - 1)
                h, v = np.float32(x - j0), np.float32(y - i0)
                upper = depth[i0, j0] + h * (depth[i0, j1] - depth[i0, j0])
                lower = depth[i1, j0] + h * (depth[i1, j1] - depth[i1, j0])
                above = upper + v * (lower - upper) - start - distance * lz
                penumbra = np.float32(PENUMBRA_FW) * (np.float32(0.25) + np.float32(0.75) * share)
                dark = max(dark, min(above / penumbra, one))
            out[i, j] = dark
