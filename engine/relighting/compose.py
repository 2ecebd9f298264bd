"""Person with alpha + backdrop + coarse light → the picture: one pass over the pixels, uint8 → uint8.

As in engine.relighting.apply pixels are squares of their code values, gains are made for that, and highlights roll off
by one factor. Here both layers are known, so a mixed pixel is mixed after each was lit: no halo, whatever the two
gains.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from engine.relighting.apply import DARK, PALER, SHEEN_BASE, _roll_off, _stretch, _taps
from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.types import FloatArray

STRIDE = 1040  # floats of a scratch row: constant, so that rows are known not to overlap, and no multiple of 4 KiB


def compose(
    person: NDArray[np.uint8], backdrop: NDArray[np.uint8], fields: FloatArray, background: FloatArray
) -> NDArray[np.uint8]:
    """`person` [H,W,4] straight RGB and alpha, `backdrop` [H,W,3] → [H,W,3]; W at most 1024.

    fields [6,rows,cols] over the whole picture: gain RGB and sheen RGB (engine.relighting.shading). background [3,3]:
    gain at the centre, its change to the right edge, its change to the top edge; a row each, RGB.
    """
    height, width = backdrop.shape[:2]
    x, wx = _taps(width, 0, width, fields.shape[2])
    y, wy = _taps(height, 0, height, fields.shape[1])
    out = np.empty_like(backdrop)
    _compose(person, backdrop, _stretch(fields.transpose(1, 2, 0), x, wx), y, wy, background, out)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _compose(person, backdrop, fields, low, weight, background, out):  # type: ignore[no-untyped-def]
    height, width = out.shape[0], out.shape[1]
    line = np.empty((13, STRIDE), np.float32)
    last = fields.shape[0] - 1
    for i in range(height):
        first, stop = 0, width
        while first < width and person[i, first, 3] == 0:
            first += 1
        while stop > first and person[i, stop - 1, 3] == 0:
            stop -= 1
        _wall(backdrop[i], background, np.float32(1.0) - (np.float32(2.0) * i + np.float32(1.0)) / height, line)
        if first < stop:
            f0, f1, fv = low[i], min(low[i] + 1, last), weight[i]
            for c in range(6):
                upper, lower = fields[f0, c][first:stop], fields[f1, c][first:stop]
                for j in range(upper.shape[0]):
                    line[3 + c, j] = upper[j] + fv * (lower[j] - upper[j])
            _person(person[i][first:stop], first, line)
        for c in range(3):
            for j in range(width):
                line[c, j] = min(np.sqrt(line[c, j]) * np.float32(255.0) + np.float32(0.5), np.float32(255.0))
        row = out[i]
        for j in range(width):
            row[j, 0] = np.uint8(line[0, j])
            row[j, 1] = np.uint8(line[1, j])
            row[j, 2] = np.uint8(line[2, j])


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _wall(pixels, background, up, line):  # type: ignore[no-untyped-def]
    """Rows 0…2 of `line`: the backdrop in its light, squares."""
    one, zero, byte = np.float32(1.0), np.float32(0.0), np.float32(1 / 255)
    width = pixels.shape[0]
    wr = background[0, 0] + up * background[2, 0] - background[1, 0]
    wg = background[0, 1] + up * background[2, 1] - background[1, 1]
    wb = background[0, 2] + up * background[2, 2] - background[1, 2]
    per_px = np.float32(2.0) / np.float32(width)
    dr, dg, db = background[1, 0] * per_px, background[1, 1] * per_px, background[1, 2] * per_px
    for j in range(width):
        line[0, j] = np.float32(pixels[j, 0]) * byte
        line[1, j] = np.float32(pixels[j, 1]) * byte
        line[2, j] = np.float32(pixels[j, 2]) * byte
    for j in range(width):
        x = np.float32(j) + np.float32(0.5)
        r, g, b = line[0, j] * line[0, j], line[1, j] * line[1, j], line[2, j] * line[2, j]
        luma = np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b
        trust = luma / (luma + np.float32(DARK))
        gr, gg, gb = max(wr + x * dr, zero), max(wg + x * dg, zero), max(wb + x * db, zero)
        gr = min(gr, one) + trust * max(gr - one, zero)
        gg = min(gg, one) + trust * max(gg - one, zero)
        gb = min(gb, one) + trust * max(gb - one, zero)
        r, g, b = r * gr, g * gg, b * gb
        keep = _roll_off(r, g, b, max(max(gr, gg), gb))
        line[0, j], line[1, j], line[2, j] = r * keep, g * keep, b * keep


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _person(pixels, start, line):  # type: ignore[no-untyped-def]
    """Lay a run of the person, lit by rows 3…8 of `line` (gain, sheen), over rows 0…2 from `start` on."""
    one, zero, byte = np.float32(1.0), np.float32(0.0), np.float32(1 / 255)
    count = pixels.shape[0]
    for j in range(count):
        line[9, j] = np.float32(pixels[j, 0]) * byte
        line[10, j] = np.float32(pixels[j, 1]) * byte
        line[11, j] = np.float32(pixels[j, 2]) * byte
        line[12, j] = np.float32(pixels[j, 3]) * byte
    red, green, blue = line[0][start : start + count], line[1][start : start + count], line[2][start : start + count]
    for j in range(count):
        r, g, b = line[9, j] * line[9, j], line[10, j] * line[10, j], line[11, j] * line[11, j]
        luma = np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b
        trust = luma / (luma + np.float32(DARK))
        gr, gg, gb = line[3, j], line[4, j], line[5, j]
        gr = min(gr, one) + trust * max(gr - one, zero)
        gg = min(gg, one) + trust * max(gg - one, zero)
        gb = min(gb, one) + trust * max(gb - one, zero)
        r, g, b = r * gr, g * gg, b * gb
        grey = np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b
        paler = np.float32(PALER) * max(luma - grey, zero) / (luma + np.float32(1e-4))
        shine = luma + np.float32(SHEEN_BASE)
        r += paler * (grey - r) + shine * line[6, j]
        g += paler * (grey - g) + shine * line[7, j]
        b += paler * (grey - b) + shine * line[8, j]
        keep = _roll_off(r, g, b, max(max(gr, gg), gb) + shine * line[7, j])
        a = line[12, j]
        line[9, j] = red[j] + a * (r * keep - red[j])
        line[10, j] = green[j] + a * (g * keep - green[j])
        line[11, j] = blue[j] + a * (b * keep - blue[j])
    for j in range(count):
        red[j], green[j], blue[j] = line[9, j], line[10, j], line[11, j]
