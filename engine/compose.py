"""Person with alpha + backdrop + coarse light → the picture: one pass over the pixels, uint8 → uint8.

As in engine.relight pixels are squares of their code values, gains are made for that, and highlights roll off by one
factor. Here both layers are known, so a mixed pixel is mixed after each was lit: no halo, whatever the two gains.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from engine.relight import DARK, PALER, SHEEN_BASE, _roll_off, _stretch, _taps
from lcvd.types import FloatArray


def compose(
    person: NDArray[np.uint8], backdrop: NDArray[np.uint8], fields: FloatArray, background: FloatArray
) -> NDArray[np.uint8]:
    """`person` [H,W,4] straight RGB and alpha, `backdrop` [H,W,3] → [H,W,3].

    fields [6,rows,cols] over the whole picture: gain RGB and sheen RGB (engine.shade). background [3,3]: gain at the
    centre, its change to the right edge, its change to the top edge; a row each, RGB.
    """
    height, width = backdrop.shape[:2]
    x, wx = _taps(width, 0, width, fields.shape[2])
    y, wy = _taps(height, 0, height, fields.shape[1])
    out = np.empty_like(backdrop)
    _compose(person, backdrop, _stretch(fields.transpose(1, 2, 0), x, wx), y, wy, background, out)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _compose(person, backdrop, fields, low, weight, background, out):  # type: ignore[no-untyped-def]
    one, zero = np.float32(1.0), np.float32(0.0)
    byte = np.float32(1 / 255)
    height, width = out.shape[0], out.shape[1]
    line = np.empty((6, width), np.float32)
    last = fields.shape[0] - 1
    per_px = np.float32(2.0) / np.float32(width)
    for i in range(height):
        f0, f1, fv = low[i], min(low[i] + 1, last), weight[i]
        for c in range(6):
            upper, lower = fields[f0, c], fields[f1, c]
            for j in range(width):
                line[c, j] = upper[j] + fv * (lower[j] - upper[j])
        up = one - np.float32(2.0) * (np.float32(i) + np.float32(0.5)) / np.float32(height)
        wr = background[0, 0] + up * background[2, 0]
        wg = background[0, 1] + up * background[2, 1]
        wb = background[0, 2] + up * background[2, 2]
        for j in range(width):
            right = (np.float32(j) + np.float32(0.5)) * per_px - one
            br, bg, bb = backdrop[i, j, 0] * byte, backdrop[i, j, 1] * byte, backdrop[i, j, 2] * byte
            br, bg, bb = br * br, bg * bg, bb * bb
            luma = np.float32(0.2126) * br + np.float32(0.7152) * bg + np.float32(0.0722) * bb
            trust = luma / (luma + np.float32(DARK))
            gr = max(wr + right * background[1, 0], zero)
            gg = max(wg + right * background[1, 1], zero)
            gb = max(wb + right * background[1, 2], zero)
            gr = min(gr, one) + trust * max(gr - one, zero)
            gg = min(gg, one) + trust * max(gg - one, zero)
            gb = min(gb, one) + trust * max(gb - one, zero)
            br, bg, bb = br * gr, bg * gg, bb * gb
            keep = _roll_off(br, bg, bb, max(max(gr, gg), gb))
            br, bg, bb = br * keep, bg * keep, bb * keep
            a = person[i, j, 3] * byte
            if a > zero:
                r, g, b = person[i, j, 0] * byte, person[i, j, 1] * byte, person[i, j, 2] * byte
                r, g, b = r * r, g * g, b * b
                luma = np.float32(0.2126) * r + np.float32(0.7152) * g + np.float32(0.0722) * b
                trust = luma / (luma + np.float32(DARK))
                gr, gg, gb = line[0, j], line[1, j], line[2, j]
                gr = min(gr, one) + trust * max(gr - one, zero)
                gg = min(gg, one) + trust * max(gg - one, zero)
                gb = min(gb, one) + trust * max(gb - one, zero)
                r, g, b = r * gr, g * gg, b * gb
                grey = np.float32(0.2126) * r + np.float32(0.7152) * g + np.float32(0.0722) * b
                paler = np.float32(PALER) * max(luma - grey, zero) / (luma + np.float32(1e-4))
                shine = luma + np.float32(SHEEN_BASE)
                r += paler * (grey - r) + shine * line[3, j]
                g += paler * (grey - g) + shine * line[4, j]
                b += paler * (grey - b) + shine * line[5, j]
                keep = _roll_off(r, g, b, max(max(gr, gg), gb) + shine * line[4, j])
                br += a * (r * keep - br)
                bg += a * (g * keep - bg)
                bb += a * (b * keep - bb)
            out[i, j, 0] = np.uint8(
                min(np.sqrt(max(br, zero)) * np.float32(255.0) + np.float32(0.5), np.float32(255.0))
            )
            out[i, j, 1] = np.uint8(
                min(np.sqrt(max(bg, zero)) * np.float32(255.0) + np.float32(0.5), np.float32(255.0))
            )
            out[i, j, 2] = np.uint8(
                min(np.sqrt(max(bb, zero)) * np.float32(255.0) + np.float32(0.5), np.float32(255.0))
            )
