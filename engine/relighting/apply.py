"""Picture + coarse gains, additions and alpha → the relit picture: one fused pass over the pixels, uint8 → uint8.

Pixels are relit as squares of their code values: decoding is a product, encoding one square root, gain 1 gives back
every byte exactly, and with gains raised to 2/2.2 (engine.relighting.shading) the result is that of a 2.2 display.
Coarse fields are first stretched along the rows, then blended between rows inside the pass: every inner loop runs over
contiguous floats. Highlights roll off above a knee by a common factor, so they keep their hue.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from engine.relighting.grid import WorkingGrid
from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.types import FloatArray

ALPHA_LOW, ALPHA_RANGE = 0.25, 0.73  # what is nearly person is person: local colours scatter
KNEE = 0.8
PALER = 0.1  # deep shade loses this share of its colour: a display's shadows look more saturated than skin's
SHEEN_BASE = 0.008  # squared code value: hair darker than this shines as if it were this bright
SPILL = 0.1  # of the contour's sheen that the lens lets fall on the wall beside it
MAX_WIDTH_PX = 8192
STRIDE = MAX_WIDTH_PX + 16  # not a multiple of 4 KiB, so that the scratch's rows do not share cache sets
DARK = 0.004  # squared code value (16/255) below which a gain > 1 fades: it would only lift noise


def relight(
    rgb: NDArray[np.uint8], fields: FloatArray, grid: WorkingGrid, alpha: FloatArray, background: FloatArray
) -> NDArray[np.uint8]:
    """`rgb` [H,W,3] → new [H,W,3].

    fields [6,rows,cols] on `grid`: gain RGB and sheen RGB (engine.relighting.shading), for the person. alpha [h,w,7]:
    linear function of colour, and ratio of person to background (engine.relighting.alpha), over the whole frame.
    background [3,3]: gain at the picture's centre, its change to the right edge, its change to the top edge; a row
    each, RGB.
    """
    height, width = rgb.shape[:2]
    x_field, wx_field = _taps(width, grid.x0, grid.width, grid.cols)
    y_field, wy_field = _taps(height, grid.y0, grid.height, grid.rows)
    x_alpha, wx_alpha = _taps(width, 0, width, alpha.shape[1])
    y_alpha, wy_alpha = _taps(height, 0, height, alpha.shape[0])
    wide_fields = _stretch(fields.transpose(1, 2, 0), x_field, wx_field)
    wide_alpha = _stretch(alpha, x_alpha, wx_alpha)
    out = np.empty_like(rgb)
    spans = _spans(alpha, width)
    _relight(rgb, wide_fields, y_field, wy_field, wide_alpha, y_alpha, wy_alpha, spans, background, out)
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


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _holds(a):  # type: ignore[no-untyped-def]
    """Whether a coarse cell's alpha can be anything but 0 once ALPHA_LOW is taken off."""
    return a[0] != 0 or a[1] != 0 or a[2] != 0 or a[3] > np.float32(0.9 * ALPHA_LOW)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _spans(alpha, width):  # type: ignore[no-untyped-def]
    """[rows,2]: the pixel columns outside which a coarse row and its neighbours hold nothing of the person.

    What spills over the contour (engine.relighting.surface.RIM_FW) ends within alpha's band unless the face fills the
    frame.
    """
    rows, cols = alpha.shape[0], alpha.shape[1]
    out = np.empty((rows, 2), np.int64)
    for i in range(rows):
        first, last = 0, cols - 1
        while first < cols and not _holds(alpha[i, first]):
            first += 1
        while last >= first and not _holds(alpha[i, last]):
            last -= 1
        # A cell reaches as far as the centres of its neighbours.
        out[i, 0] = max(int((first - 0.5) * width / cols) - 1, 0) if first < cols else width
        out[i, 1] = min(int((last + 1.5) * width / cols) + 2, width) if first < cols else 0
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _relight(rgb, fields, y_field, wy_field, alpha, y_alpha, wy_alpha, spans, background, out):  # type: ignore[no-untyped-def]
    height, width = rgb.shape[0], rgb.shape[1]
    # One scratch array of constant shape, and all callees inlined: LLVM can then prove that its rows do not overlap,
    # and vectorises.
    line = np.empty((16, STRIDE), np.float32)
    wall = np.empty((2, 3), np.float32)
    last_field, last_alpha = fields.shape[0] - 1, alpha.shape[0] - 1
    per_px = np.float32(2.0) / np.float32(width)
    for i in range(height):
        f0, f1, fv = y_field[i], min(y_field[i] + 1, last_field), wy_field[i]
        a0, a1, av = y_alpha[i], min(y_alpha[i] + 1, last_alpha), wy_alpha[i]
        up = np.float32(1.0) - np.float32(2.0) * (np.float32(i) + np.float32(0.5)) / np.float32(height)
        first = min(spans[a0, 0], spans[a1, 0])
        stop = max(spans[a0, 1], spans[a1, 1])
        if first >= stop:
            first, stop = width, width
        for start, end in ((0, first), (stop, width)):
            if start < end:
                _wall_at(background, up, start, per_px, wall)
                _relight_wall(rgb[i][start:end], wall, line, out[i][start:end])
        if first < stop:
            for c in range(6):
                upper, lower = fields[f0, c][first:stop], fields[f1, c][first:stop]
                for j in range(upper.shape[0]):
                    line[c, j] = upper[j] + fv * (lower[j] - upper[j])
            for c in range(7):
                upper, lower = alpha[a0, c][first:stop], alpha[a1, c][first:stop]
                for j in range(upper.shape[0]):
                    line[6 + c, j] = upper[j] + av * (lower[j] - upper[j])
            _wall_at(background, up, first, per_px, wall)
            _relight_person(rgb[i][first:stop], wall, line, out[i][first:stop])


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _wall_at(background, up, start, per_px, wall):  # type: ignore[no-untyped-def]
    """The background's gain at pixel `start` of a row, and its change a pixel further on."""
    for c in range(3):
        right = (np.float32(start) + np.float32(0.5)) * per_px - np.float32(1.0)
        wall[0, c] = background[0, c] + up * background[2, c] + right * background[1, c]
        wall[1, c] = background[1, c] * per_px


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _load(pixels, line):  # type: ignore[no-untyped-def]
    for j in range(pixels.shape[0]):
        line[13, j] = np.float32(pixels[j, 0]) * np.float32(1 / 255)
        line[14, j] = np.float32(pixels[j, 1]) * np.float32(1 / 255)
        line[15, j] = np.float32(pixels[j, 2]) * np.float32(1 / 255)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _store(line, relit):  # type: ignore[no-untyped-def]
    for c in range(13, 16):
        for j in range(relit.shape[0]):
            line[c, j] = min(np.sqrt(line[c, j]) * np.float32(255.0) + np.float32(0.5), np.float32(255.0))
    for j in range(relit.shape[0]):
        relit[j, 0] = np.uint8(line[13, j])
        relit[j, 1] = np.uint8(line[14, j])
        relit[j, 2] = np.uint8(line[15, j])


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _roll_off(r, g, b, gain):  # type: ignore[no-untyped-def]
    """Factor that brings what the light made brighter back under white; 1 for what it left alone."""
    one, knee = np.float32(1.0), np.float32(KNEE)
    peak = max(max(max(r, g), b), knee)
    over = peak - knee
    raised = min(max(gain - one, np.float32(0.0)) * np.float32(4.0), one)
    soft = knee + over / (one + over * np.float32(1 / (1 - KNEE)))
    return one + raised * (soft / peak - one)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _relight_wall(pixels, wall, line, relit):  # type: ignore[no-untyped-def]
    """A run of pixels without anything of the person: gain only."""
    one, zero = np.float32(1.0), np.float32(0.0)
    wr, wg, wb = wall[0, 0], wall[0, 1], wall[0, 2]
    dr, dg, db = wall[1, 0], wall[1, 1], wall[1, 2]
    _load(pixels, line)
    for j in range(pixels.shape[0]):
        x = np.float32(j)
        r, g, b = line[13, j] * line[13, j], line[14, j] * line[14, j], line[15, j] * line[15, j]
        luma = np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b
        trust = luma / (luma + np.float32(DARK))
        gr, gg, gb = max(wr + x * dr, zero), max(wg + x * dg, zero), max(wb + x * db, zero)
        gr = min(gr, one) + trust * max(gr - one, zero)
        gg = min(gg, one) + trust * max(gg - one, zero)
        gb = min(gb, one) + trust * max(gb - one, zero)
        r, g, b = r * gr, g * gg, b * gb
        keep = _roll_off(r, g, b, max(max(gr, gg), gb))
        line[13, j], line[14, j], line[15, j] = r * keep, g * keep, b * keep
    _store(line, relit)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _relight_person(pixels, wall, line, relit):  # type: ignore[no-untyped-def]
    """A run of pixels that the person may share. Rows of `line`: gain, sheen, alpha's colour and offset, ratio."""
    one, zero = np.float32(1.0), np.float32(0.0)
    wr, wg, wb = wall[0, 0], wall[0, 1], wall[0, 2]
    dr, dg, db = wall[1, 0], wall[1, 1], wall[1, 2]
    _load(pixels, line)
    for j in range(pixels.shape[0]):
        x = np.float32(j)
        r, g, b = line[13, j], line[14, j], line[15, j]
        alpha = line[6, j] * r + line[7, j] * g + line[8, j] * b + line[9, j]
        person = min(max((alpha - np.float32(ALPHA_LOW)) * np.float32(1 / ALPHA_RANGE), zero), one)
        # Share of the person in each channel's light: a dark hair before a bright wall is mostly wall.
        rest = one - person + np.float32(1e-6)
        sr = person * line[10, j] / (person * line[10, j] + rest)
        sg = person * line[11, j] / (person * line[11, j] + rest)
        sb = person * line[12, j] / (person * line[12, j] + rest)
        r, g, b = r * r, g * g, b * b
        luma = np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b
        trust = luma / (luma + np.float32(DARK))
        gr, gg, gb = max(wr + x * dr, zero), max(wg + x * dg, zero), max(wb + x * db, zero)
        gr += sr * (line[0, j] - gr)
        gg += sg * (line[1, j] - gg)
        gb += sb * (line[2, j] - gb)
        gr = min(gr, one) + trust * max(gr - one, zero)
        gg = min(gg, one) + trust * max(gg - one, zero)
        gb = min(gb, one) + trust * max(gb - one, zero)
        r, g, b = r * gr, g * gg, b * gb
        grey = np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b
        paler = np.float32(PALER) * max(luma - grey, zero) / (luma + np.float32(1e-4)) * person
        # The wall's part of a mixed pixel does not shine; a strand that lets light through shines more than it covers.
        bare = one - min(max(alpha, zero), one)
        bare *= bare * bare
        shine = luma * sg + np.float32(SHEEN_BASE) * (one - np.float32(1 - SPILL) * bare)
        r += paler * (grey - r) + shine * line[3, j]
        g += paler * (grey - g) + shine * line[4, j]
        b += paler * (grey - b) + shine * line[5, j]
        keep = _roll_off(r, g, b, max(max(gr, gg), gb) + shine * line[4, j])
        line[13, j], line[14, j], line[15, j] = r * keep, g * keep, b * keep
    _store(line, relit)
