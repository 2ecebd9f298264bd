"""Picture + coarse gains, additions and alpha → the relit picture: one fused pass over the pixels, uint8 → uint8.

Pixels are relit as squares of their code values: decoding is a product, encoding one square root, gain 1 gives back
every byte exactly, and with gains raised to 2/2.2 (engine.shade) the result is that of a 2.2 display. Coarse fields
are first stretched along the rows, then blended between rows inside the pass: every inner loop runs over contiguous
floats. Highlights roll off above a knee by a common factor, so they keep their hue.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from engine.grid import WorkingGrid
from lcvd.types import FloatArray

ALPHA_LOW, ALPHA_RANGE = 0.25, 0.73  # what is nearly person is person: local colours scatter
KNEE = 0.8
PALER = 0.1  # deep shade loses this share of its colour: a display's shadows look more saturated than skin's
MAX_WIDTH_PX = 8192
STRIDE = MAX_WIDTH_PX + 16  # not a multiple of 4 KiB, so that the scratch's rows do not share cache sets
DARK = 0.004  # squared code value (16/255) below which a gain > 1 fades: it would only lift noise


def relight(
    rgb: NDArray[np.uint8], fields: FloatArray, grid: WorkingGrid, alpha: FloatArray, background: FloatArray
) -> NDArray[np.uint8]:
    """`rgb` [H,W,3] → new [H,W,3].

    fields [6,rows,cols] on `grid`: gain RGB and sheen RGB (engine.shade), for the person. alpha [h,w,7]: linear
    function of colour, and ratio of person to background (engine.alpha), over the whole frame. background [3,3]: gain
    at the picture's centre, its change to the right edge, its change to the top edge; a row each, RGB.
    """
    height, width = rgb.shape[:2]
    x_field, wx_field = _taps(width, grid.x0, grid.width, grid.cols)
    y_field, wy_field = _taps(height, grid.y0, grid.height, grid.rows)
    x_alpha, wx_alpha = _taps(width, 0, width, alpha.shape[1])
    y_alpha, wy_alpha = _taps(height, 0, height, alpha.shape[0])
    wide_fields = _stretch(fields.transpose(1, 2, 0), x_field, wx_field)
    wide_alpha = _stretch(alpha, x_alpha, wx_alpha)
    out = np.empty_like(rgb)
    _relight(rgb, wide_fields, y_field, wy_field, wide_alpha, y_alpha, wy_alpha, background, out)
    return out


def _taps(count: int, start: int, length: int, cells: int) -> tuple[NDArray[np.uint32], FloatArray]:
    """Per pixel: the lower of the two cells it lies between, and the upper one's weight."""
    at = np.clip((np.arange(count) + 0.5 - start) * (cells / length) - 0.5, 0, cells - 1)
    low = np.minimum(at.astype(np.int32), max(cells - 2, 0))
    # Unsigned: an index that cannot be negative needs no check, and the compiler makes vectors.
    return low.astype(np.uint32), (at - low).astype(np.float32)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _stretch(field, low, weight):  # type: ignore[no-untyped-def]
    """[rows,cols,C] → [rows,C,W], linear along the rows."""
    rows, cols, count = field.shape
    width = low.shape[0]
    out = np.empty((rows, count, width), np.float32)
    line = np.empty(cols, np.float32)
    step = np.empty(cols, np.float32)
    for i in range(rows):
        for c in range(count):
            for k in range(cols):
                line[k] = field[i, k, c]
            for k in range(cols - 1):
                step[k] = line[k + 1] - line[k]
            step[cols - 1] = np.float32(0.0)
            for j in range(width):
                out[i, c, j] = line[low[j]] + weight[j] * step[low[j]]
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _relight(rgb, fields, y_field, wy_field, alpha, y_alpha, wy_alpha, background, out):  # type: ignore[no-untyped-def]
    height, width = rgb.shape[0], rgb.shape[1]
    one, zero = np.float32(1.0), np.float32(0.0)
    # One scratch array of constant shape: LLVM can then prove that its rows do not overlap, and vectorises.
    line = np.empty((16, STRIDE), np.float32)
    last_field, last_alpha = fields.shape[0] - 1, alpha.shape[0] - 1
    for i in range(height):
        f0, f1, fv = y_field[i], min(y_field[i] + 1, last_field), wy_field[i]
        a0, a1, av = y_alpha[i], min(y_alpha[i] + 1, last_alpha), wy_alpha[i]
        up = one - np.float32(2.0) * (np.float32(i) + np.float32(0.5)) / np.float32(height)
        br = background[0, 0] + up * background[2, 0]
        bg = background[0, 1] + up * background[2, 1]
        bb = background[0, 2] + up * background[2, 2]
        tr, tg, tb = background[1, 0], background[1, 1], background[1, 2]
        pixels, relit = rgb[i], out[i]
        for c in range(6):
            upper, lower = fields[f0, c], fields[f1, c]
            for j in range(width):
                line[c, j] = upper[j] + fv * (lower[j] - upper[j])
        for c in range(7):
            upper, lower = alpha[a0, c], alpha[a1, c]
            for j in range(width):
                line[6 + c, j] = upper[j] + av * (lower[j] - upper[j])
        for j in range(width):
            line[13, j] = np.float32(pixels[j, 0]) * np.float32(1 / 255)
            line[14, j] = np.float32(pixels[j, 1]) * np.float32(1 / 255)
            line[15, j] = np.float32(pixels[j, 2]) * np.float32(1 / 255)
        for j in range(width):
            r, g, b = line[13, j], line[14, j], line[15, j]
            person = line[6, j] * r + line[7, j] * g + line[8, j] * b + line[9, j]
            person = min(max((person - np.float32(ALPHA_LOW)) * np.float32(1 / ALPHA_RANGE), zero), one)
            # Share of the person in each channel's light: a dark hair before a bright wall is mostly wall.
            rest = one - person + np.float32(1e-6)
            sr = person * line[10, j] / (person * line[10, j] + rest)
            sg = person * line[11, j] / (person * line[11, j] + rest)
            sb = person * line[12, j] / (person * line[12, j] + rest)
            right = (np.float32(j) + np.float32(0.5)) * np.float32(2.0) / np.float32(width) - one
            r, g, b = r * r, g * g, b * b
            luma = np.float32(0.2126) * r + np.float32(0.7152) * g + np.float32(0.0722) * b
            trust = luma / (luma + np.float32(DARK))
            gr = max(br + right * tr, zero)
            gg = max(bg + right * tg, zero)
            gb = max(bb + right * tb, zero)
            gr += sr * (line[0, j] - gr)
            gg += sg * (line[1, j] - gg)
            gb += sb * (line[2, j] - gb)
            gr = min(gr, one) + trust * max(gr - one, zero)
            gg = min(gg, one) + trust * max(gg - one, zero)
            gb = min(gb, one) + trust * max(gb - one, zero)
            r, g, b = r * gr, g * gg, b * gb
            grey = np.float32(0.2126) * r + np.float32(0.7152) * g + np.float32(0.0722) * b
            paler = np.float32(PALER) * max(luma - grey, zero) / (luma + np.float32(1e-4)) * person
            r += paler * (grey - r)
            g += paler * (grey - g)
            b += paler * (grey - b)
            shine = person * luma * sg  # the wall's part of a mixed pixel does not shine
            r += shine * line[3, j]
            g += shine * line[4, j]
            b += shine * line[5, j]
            # Roll off only what the light made brighter: a white pixel that is left alone stays white.
            peak = max(max(max(r, g), b), np.float32(KNEE))
            over = peak - np.float32(KNEE)
            raised = min(max(max(max(gr, gg), gb) - one, zero) * np.float32(4.0), one)
            soft = np.float32(KNEE) + over / (one + over * np.float32(1 / (1 - KNEE)))
            keep = one + raised * (soft / peak - one)
            line[13, j], line[14, j], line[15, j] = r * keep, g * keep, b * keep
        for c in range(13, 16):
            for j in range(width):
                line[c, j] = min(np.sqrt(line[c, j]) * np.float32(255.0) + np.float32(0.5), np.float32(255.0))
        for j in range(width):
            relit[j, 0] = np.uint8(line[13, j])
            relit[j, 1] = np.uint8(line[14, j])
            relit[j, 2] = np.uint8(line[15, j])
