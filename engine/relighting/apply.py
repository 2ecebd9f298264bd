"""Coarse gains, specular terms and alpha are applied to a picture in one fused pass over its pixels, uint8 → uint8.

Pixels are relit as squares of their code values: decoding is a product, encoding is one square root, a gain of 1 gives
every byte back exactly, and with gains raised to 2/2.2 (engine.relighting.shading) the result is that of a 2.2 display.
Coarse fields are first stretched along the rows and then blended between rows inside the pass, so every inner loop runs
over contiguous floats. Highlights roll off above a knee by one factor for all channels, so they keep their hue.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from engine.relighting.grid import WorkingGrid
from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.types import FloatArray

ALPHA_LOW, ALPHA_RANGE = 0.25, 0.73  # nearly opaque counts as opaque, because local colours scatter
KNEE = 0.8
DESATURATION = 0.1  # deep shade loses this share of its colour: a display's shadows look more saturated than skin's
SPECULAR_BASE = 0.008  # squared code value: darker hair gets the specular term of hair this bright
RIM_SPILL = 0.1  # share of the rim's specular term that falls on the background beside it, as lens glare does
MAX_WIDTH_PX = 8192
STRIDE = MAX_WIDTH_PX + 16  # not a multiple of 4 KiB, so that the scratch's rows do not share cache sets
DARK = 0.004  # squared code value (16/255) below which a gain > 1 fades: it would only lift noise


def apply_gain(
    rgb: NDArray[np.uint8], fields: FloatArray, grid: WorkingGrid, alpha: FloatArray, background: FloatArray
) -> NDArray[np.uint8]:
    """Return `rgb` [H,W,3] with the gains applied, as a new array [H,W,3].

    `fields` [6,rows,cols] on `grid` holds the person's RGB gain and RGB specular term (engine.relighting.shading).
    `alpha` [h,w,7] over the whole frame holds a linear function of colour and the ratio of person to background
    (engine.relighting.alpha). `background` [3,3] holds the background's RGB gain at the picture's centre, its change to
    the right edge and its change to the top edge, a row each (engine.relighting.background). W is at most MAX_WIDTH_PX.
    """
    height, width = rgb.shape[:2]
    x_field, wx_field = taps(width, grid.x0, grid.width, grid.cols)
    y_field, wy_field = taps(height, grid.y0, grid.height, grid.rows)
    x_alpha, wx_alpha = taps(width, 0, width, alpha.shape[1])
    y_alpha, wy_alpha = taps(height, 0, height, alpha.shape[0])
    wide_fields = stretch(fields.transpose(1, 2, 0), x_field, wx_field)
    wide_alpha = stretch(alpha, x_alpha, wx_alpha)
    out = np.empty_like(rgb)
    spans = _spans(alpha, width)
    _apply(rgb, wide_fields, y_field, wy_field, wide_alpha, y_alpha, wy_alpha, spans, background, out)
    return out


def taps(count: int, start: int, length: int, cells: int) -> tuple[NDArray[np.uint32], FloatArray]:
    """Return, per pixel, the lower of the two cells it lies between and the weight of the upper one."""
    at = np.clip((np.arange(count) + 0.5 - start) * (cells / length) - 0.5, 0, cells - 1)
    low = np.minimum(at.astype(np.int32), max(cells - 2, 0))
    # Unsigned: an index that cannot be negative needs no check, and the compiler makes vectors.
    return low.astype(np.uint32), (at - low).astype(np.float32)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def stretch(field, low, weight):  # type: ignore[no-untyped-def]
    """Interpolate [rows,cols,C] linearly along the rows: [rows,C,W]."""
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
def _holds_person(a):  # type: ignore[no-untyped-def]
    """Return True where a coarse cell's alpha can exceed ALPHA_LOW."""
    return a[0] != 0 or a[1] != 0 or a[2] != 0 or a[3] > np.float32(0.9 * ALPHA_LOW)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _spans(alpha, width):  # type: ignore[no-untyped-def]
    """Return [rows,2]: the first and one past the last pixel column in which a coarse row holds any of the person.

    The rim's specular term (engine.relighting.surface.RIM_FW) ends within alpha's band unless the face fills the frame.
    """
    rows, cols = alpha.shape[0], alpha.shape[1]
    out = np.empty((rows, 2), np.int64)
    for i in range(rows):
        first, last = 0, cols - 1
        while first < cols and not _holds_person(alpha[i, first]):
            first += 1
        while last >= first and not _holds_person(alpha[i, last]):
            last -= 1
        # Interpolation carries a cell as far as the centres of its neighbours.
        out[i, 0] = max(int((first - 0.5) * width / cols) - 1, 0) if first < cols else width
        out[i, 1] = min(int((last + 1.5) * width / cols) + 2, width) if first < cols else 0
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _apply(rgb, fields, y_field, wy_field, alpha, y_alpha, wy_alpha, spans, background, out):  # type: ignore[no-untyped-def]
    height, width = rgb.shape[0], rgb.shape[1]
    # One scratch array of constant shape, and all callees inlined: LLVM can then prove that its rows do not overlap,
    # and vectorises.
    line = np.empty((16, STRIDE), np.float32)
    gain = np.empty((2, 3), np.float32)
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
                _background_gain_at(background, up, start, per_px, gain)
                _light_background(rgb[i][start:end], gain, line, out[i][start:end])
        if first < stop:
            for c in range(6):
                upper, lower = fields[f0, c][first:stop], fields[f1, c][first:stop]
                for j in range(upper.shape[0]):
                    line[c, j] = upper[j] + fv * (lower[j] - upper[j])
            for c in range(7):
                upper, lower = alpha[a0, c][first:stop], alpha[a1, c][first:stop]
                for j in range(upper.shape[0]):
                    line[6 + c, j] = upper[j] + av * (lower[j] - upper[j])
            _background_gain_at(background, up, first, per_px, gain)
            _light_person(rgb[i][first:stop], gain, line, out[i][first:stop])


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _background_gain_at(background, up, start, per_px, gain):  # type: ignore[no-untyped-def]
    """Write the background's gain at pixel `start` of a row, and its change per pixel, into `gain` [2,3]."""
    for c in range(3):
        right = (np.float32(start) + np.float32(0.5)) * per_px - np.float32(1.0)
        gain[0, c] = background[0, c] + up * background[2, c] + right * background[1, c]
        gain[1, c] = background[1, c] * per_px


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
def roll_off(r, g, b, gain):  # type: ignore[no-untyped-def]
    """Return the factor that brings a brightened pixel back below white; 1 where the light did not brighten it."""
    one, knee = np.float32(1.0), np.float32(KNEE)
    peak = max(max(max(r, g), b), knee)
    over = peak - knee
    raised = min(max(gain - one, np.float32(0.0)) * np.float32(4.0), one)
    soft = knee + over / (one + over * np.float32(1 / (1 - KNEE)))
    return one + raised * (soft / peak - one)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _light_background(pixels, gain, line, relit):  # type: ignore[no-untyped-def]
    """Relight a run of pixels that holds nothing of the person, by the background's gain alone."""
    one, zero = np.float32(1.0), np.float32(0.0)
    wr, wg, wb = gain[0, 0], gain[0, 1], gain[0, 2]
    dr, dg, db = gain[1, 0], gain[1, 1], gain[1, 2]
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
        keep = roll_off(r, g, b, max(max(gr, gg), gb))
        line[13, j], line[14, j], line[15, j] = r * keep, g * keep, b * keep
    _store(line, relit)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _light_person(pixels, gain, line, relit):  # type: ignore[no-untyped-def]
    """Relight a run of pixels that may hold the person.

    Rows of `line`: gain (3), specular (3), alpha's colour coefficients and offset (4), ratio (3), the pixels (3).
    """
    one, zero = np.float32(1.0), np.float32(0.0)
    wr, wg, wb = gain[0, 0], gain[0, 1], gain[0, 2]
    dr, dg, db = gain[1, 0], gain[1, 1], gain[1, 2]
    _load(pixels, line)
    for j in range(pixels.shape[0]):
        x = np.float32(j)
        r, g, b = line[13, j], line[14, j], line[15, j]
        alpha = line[6, j] * r + line[7, j] * g + line[8, j] * b + line[9, j]
        person = min(max((alpha - np.float32(ALPHA_LOW)) * np.float32(1 / ALPHA_RANGE), zero), one)
        # The person's share of each channel's light: a pixel of dark hair before a bright wall is mostly wall.
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
        paler = np.float32(DESATURATION) * max(luma - grey, zero) / (luma + np.float32(1e-4)) * person
        # The background's part of a mixed pixel gets no specular term, but a strand of hair gets more of it than it
        # covers, because it lets light through.
        uncovered = one - min(max(alpha, zero), one)
        uncovered *= uncovered * uncovered
        highlight = luma * sg + np.float32(SPECULAR_BASE) * (one - np.float32(1 - RIM_SPILL) * uncovered)
        r += paler * (grey - r) + highlight * line[3, j]
        g += paler * (grey - g) + highlight * line[4, j]
        b += paler * (grey - b) + highlight * line[5, j]
        keep = roll_off(r, g, b, max(max(gr, gg), gb) + highlight * line[4, j])
        line[13, j], line[14, j], line[15, j] = r * keep, g * keep, b * keep
    _store(line, relit)
