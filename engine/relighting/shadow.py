"""A depth field and a light's direction give the shadow the light casts, by a short march in screen space.

From every cell a ray runs toward the light, and the cell is in shadow where the surface rises above that ray. The
penumbra widens with the distance to the occluder, as under a light of finite size, so the shadow of the nose is crisp
at the nose and soft on the cheek. Depth is in face widths, +z to the viewer. The reference implementation is in
tests/engine/relighting/test_shadow.py.
"""

import cv2
import numba
import numpy as np

from lcvd.lighting.lighting import PackedLighting
from lcvd.types import FloatArray

STEPS = 16
REACH_FW = 0.75
BIAS_FW = 0.012
BACKGROUND_BELOW_FW = -4.0  # a cell this far back is not part of the person
PENUMBRA_FW = 0.07  # depth over which the shadow fades in at full reach; a quarter of it at contact


def cast_shadow(depth: FloatArray, direction: tuple[float, float, float], cell_fw: float) -> FloatArray:
    """Return the shadow [H,W] of one directional light, 1 = fully in shadow.

    `depth` [H,W] is in face widths and far below BACKGROUND_BELOW_FW outside the person. `direction` is the unit vector
    from the face to the light, y up. `cell_fw` is the side of a cell in face widths.
    """
    out = np.empty_like(depth)
    x, y, z = (np.float32(a) for a in direction)
    _march(depth, x, y, z, np.float32(1 / cell_fw), out)
    radius = max(round(0.02 / cell_fw), 1)
    return cv2.blur(out, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def cast_shadows(depth: FloatArray, light: PackedLighting, cell_fw: float) -> FloatArray:
    """Return the shadows [L,H,W] of the directional lights, L up to the last one that casts any; see `cast_shadow`."""
    casting = [k for k in range(light.count) if light.shadows[k] > 0 and light.rgbs[k].max() > 0]
    out = np.zeros((max(casting, default=-1) + 1, *depth.shape), np.float32)
    for k in casting:
        out[k] = cast_shadow(depth, tuple(light.directions[k]), cell_fw)
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
            if depth[i, j] < np.float32(BACKGROUND_BELOW_FW):
                out[i, j] = zero
                continue
            for k in range(1, STEPS + 1):
                share = np.float32(k) / np.float32(STEPS)
                distance = np.float32(REACH_FW) * share * np.sqrt(share)
                if start + distance * lz > highest:  # from here on the ray is above every surface
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
