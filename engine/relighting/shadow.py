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
    # All rays of a row take a step together: they land between the same two rows, equally far between two columns, so
    # a step is a sum of four shifted rows.
    height, width = depth.shape
    one, zero = np.float32(1.0), np.float32(0.0)
    highest = depth.max()
    for i in range(height):
        own, dark = depth[i], out[i]
        lowest = highest
        for j in range(width):
            dark[j] = zero
            if own[j] >= np.float32(BACKGROUND_BELOW_FW):
                lowest = min(lowest, own[j])
        if own.max() < np.float32(BACKGROUND_BELOW_FW):
            continue
        for k in range(1, STEPS + 1):
            share = np.float32(k) / np.float32(STEPS)
            distance = np.float32(REACH_FW) * share * np.sqrt(share)
            rise = np.float32(BIAS_FW) + distance * lz
            dx, y = distance * lx * cells_per_fw, i - distance * ly * cells_per_fw
            # From here on every ray is above every surface, or beyond the grid.
            if lowest + rise > highest or y < zero or y > height - 1:
                break
            i0 = int(y)
            shift = int(np.floor(dx))
            upper, lower = depth[i0], depth[min(i0 + 1, height - 1)]
            v, h = np.float32(y - i0), np.float32(dx - shift)
            inverse = one / (np.float32(PENUMBRA_FW) * (np.float32(0.25) + np.float32(0.75) * share))
            next_ = 1 if h > zero else 0
            first, stop = max(-shift, 0), min(width - next_ - shift, width)  # beyond these a ray has left the grid
            if first >= stop:
                break
            a, b = first + shift, stop + shift
            left_above, right_above = upper[a:b], upper[a + next_ : b + next_]
            left_below, right_below = lower[a:b], lower[a + next_ : b + next_]
            start, shade = own[first:stop], dark[first:stop]
            for j in range(stop - first):
                above = left_above[j] + h * (right_above[j] - left_above[j])
                below = left_below[j] + h * (right_below[j] - left_below[j])
                over = above + v * (below - above) - start[j] - rise
                shade[j] = max(shade[j], min(over * inverse, one))
        for j in range(width):
            dark[j] = dark[j] if own[j] >= np.float32(BACKGROUND_BELOW_FW) else zero
