"""Coarse gains, specular terms and alpha are applied to a picture in one fused pass over its pixels, uint8 → uint8.

Pixels are relit as squares of their code values: decoding is a product, encoding is one square root, a gain of 1 gives
every byte back exactly, and with gains raised to 2/2.2 (engine.relighting.shading) the result is that of a 2.2 display.
Inside the pass coarse fields are first stretched along the rows and then blended between rows, so every inner loop runs
over contiguous floats. Highlights roll off above a knee by one factor for all channels, so they keep their hue.

A row is taken in runs of one kind (engine.relighting.runs). Where nothing of the person is and no channel gets
brighter, bytes are multiplied by the root of the gain, as they lie there: three channels side by side.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from engine.relighting.denoise import NOTHING, smooth_run, smoothed_columns
from engine.relighting.grid import WorkingGrid
from engine.relighting.pixels import STRIDE, load, store
from engine.relighting.runs import ALPHA_LOW, ALPHA_RANGE, INSIDE, NOBODY, runs_of, taps, used_columns
from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.types import FloatArray

KNEE = 0.8
DESATURATION = 0.1  # deep shade loses this share of its colour: a display's shadows look more saturated than skin's
SPECULAR_BASE = 0.008  # squared code value: darker hair gets the specular term of hair this bright
ROOT_ROWS = 9  # heights at which the root of the background's gain is computed: 0.01 levels off between them
RIM_SPILL = 0.1  # share of the rim's specular term that falls on the background beside it, as lens glare does
# Squared code value below which a gain > 1 fades, since it would only lift noise: 16/255, and on a person no more than
# DARK_PER_NOISE deviations of the camera's noise.
DARK, DARKEST, DARK_PER_NOISE = 0.004, 0.0003, 3.0


def apply_gain(
    rgb: NDArray[np.uint8],
    fields: FloatArray,
    grid: WorkingGrid,
    alpha: FloatArray,
    background: FloatArray,
    smooth: FloatArray = NOTHING,
    noise: float = 6.0,
) -> NDArray[np.uint8]:
    """Return `rgb` [H,W,3] with the gains applied, as a new array [H,W,3].

    `fields` [6,rows,cols] on `grid` holds the person's RGB gain and RGB specular term (engine.relighting.shading).
    `alpha` [h,w,7] over the whole frame holds a linear function of colour and the ratio of person to background
    (engine.relighting.alpha). `background` [3,3] holds the background's RGB gain at the picture's centre, its change to
    the right edge and its change to the top edge, a row each (engine.relighting.background). `smooth` [4,rows,cols] on
    `grid` says where noise is smoothed (engine.relighting.denoise); `noise` is the camera's, in code values of 255. W
    is at most MAX_WIDTH_PX.
    """
    dark = np.float32(min(max((DARK_PER_NOISE * noise / 255) ** 2, DARKEST), DARK))
    height, width = rgb.shape[:2]
    x_field, wx_field = taps(width, grid.x0, grid.width, grid.cols)
    y_field, wy_field = taps(height, grid.y0, grid.height, grid.rows)
    x_alpha, wx_alpha = taps(width, 0, width, alpha.shape[1])
    y_alpha, wy_alpha = taps(height, 0, height, alpha.shape[0])
    ends, kinds, spans = runs_of(alpha, x_alpha)
    out = np.empty_like(rgb, order="C")
    _apply(
        np.ascontiguousarray(rgb).reshape(height, -1),
        fields.transpose(1, 2, 0), smooth.transpose(1, 2, 0),
        x_field, wx_field, y_field, wy_field, used_columns(spans, y_alpha, y_field, grid.rows),
        alpha, x_alpha, wx_alpha, y_alpha, wy_alpha, used_columns(spans, y_alpha, y_alpha, alpha.shape[0]),
        ends, kinds, background, dark, out.reshape(height, -1),
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def stretch(field, row, low, weight, span, held, wide):  # type: ignore[no-untyped-def]
    """Interpolate row `row` of `field` [rows,cols,C] linearly to the pixel columns of `span` [2].

    `wide` [2,C,W] keeps the last even and the last odd row, `held` [2] says which they are: a pixel row needs two
    neighbours, and most pixel rows need the two of the row before.
    """
    slot = row % 2
    held[slot] = row
    cols, (first, stop) = field.shape[1], (span[0], span[1])
    line = np.empty(cols, np.float32)
    step = np.zeros(cols, np.float32)
    at, by = low[first:stop], weight[first:stop]
    for c in range(field.shape[2]):
        for k in range(cols):
            line[k] = field[row, k, c]
        for k in range(cols - 1):
            step[k] = line[k + 1] - line[k]
        out = wide[slot, c][first:stop]
        for j in range(at.shape[0]):
            out[j] = line[at[j]] + by[j] * step[at[j]]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _apply(  # type: ignore[no-untyped-def]
    rgb, fields, smooth, x_field, wx_field, y_field, wy_field, field_spans,
    alpha, x_alpha, wx_alpha, y_alpha, wy_alpha, alpha_spans, ends, kinds, background, dark, out,
):  # fmt: skip
    height, width = rgb.shape[0], rgb.shape[1] // 3
    # One scratch array of constant shape, and all callees inlined: LLVM can then prove that its rows do not overlap,
    # and vectorises.
    line = np.empty((20, STRIDE), np.float32)
    bytes_ = np.empty((3, STRIDE), np.uint8)
    gain = np.empty((2, 3), np.float32)
    wide_fields, wide_alpha = np.empty((2, 6, width), np.float32), np.empty((2, 7, width), np.float32)
    wide_smooth = np.empty((2, 4, width), np.float32)
    held_fields, held_alpha, held_smooth = np.full(2, -1), np.full(2, -1), np.full(2, -1)
    noisy = smoothed_columns(smooth, x_field, fields.shape[0])
    span = np.empty(2, np.int64)  # of a field's row: the columns that any pixel row beside it needs
    last_field, last_alpha = fields.shape[0] - 1, alpha.shape[0] - 1
    roots = _background_roots(background, width)
    per_px = np.float32(2.0) / np.float32(width)
    for i in range(height):
        f0, fv = int(y_field[i]), wy_field[i]
        f1 = min(f0 + 1, last_field)
        a0, av = int(y_alpha[i]), wy_alpha[i]
        a1 = min(a0 + 1, last_alpha)
        for row in range(f0, f1 + 1):
            if held_fields[row % 2] != row:
                stretch(fields, row, x_field, wx_field, field_spans[row], held_fields, wide_fields)
        begin, end = min(noisy[f0, 0], noisy[f1, 0]), max(noisy[f0, 1], noisy[f1, 1])
        if begin < end:
            for row in range(f0, f1 + 1):
                if held_smooth[row % 2] != row:
                    above, below = max(row - 1, 0), min(row + 1, last_field)
                    span[0] = min(min(noisy[above, 0], noisy[row, 0]), noisy[below, 0])
                    span[1] = max(max(noisy[above, 1], noisy[row, 1]), noisy[below, 1])
                    stretch(smooth, row, x_field, wx_field, span, held_smooth, wide_smooth)
        for row in range(a0, a1 + 1):
            if held_alpha[row % 2] != row:
                stretch(alpha, row, x_alpha, wx_alpha, alpha_spans[row], held_alpha, wide_alpha)
        up = np.float32(1.0) - np.float32(2.0) * (np.float32(i) + np.float32(0.5)) / np.float32(height)
        first, run = 0, 0
        while first < width:
            stop, kind = ends[a0, run], kinds[a0, run]
            run += 1
            if stop <= first:
                continue
            count = stop - first
            if kind != INSIDE:
                _background_gain_at(background, up, first, per_px, gain)
            if kind == NOBODY and _only_dims(gain, count):
                _dim_background(rgb[i], roots, up, 3 * first, 3 * stop, out[i])
                first = stop
                continue
            load(rgb[i][3 * first : 3 * stop], bytes_, line, 13)
            if kind == NOBODY:
                _light_background(count, gain, line)
            else:
                for c in range(6):
                    upper, lower = wide_fields[f0 % 2, c][first:stop], wide_fields[f1 % 2, c][first:stop]
                    for j in range(count):
                        line[c, j] = upper[j] + fv * (lower[j] - upper[j])
                if max(first, begin) < min(stop, end):
                    smooth_run(
                        wide_smooth[f0 % 2], wide_smooth[f1 % 2], fv, first, max(first, begin), min(stop, end), line
                    )
                if kind == INSIDE:
                    _light_inside(count, dark, line)
                else:
                    for c in range(7):
                        upper, lower = wide_alpha[a0 % 2, c][first:stop], wide_alpha[a1 % 2, c][first:stop]
                        for j in range(count):
                            line[6 + c, j] = upper[j] + av * (lower[j] - upper[j])
                    _light_mixed(count, gain, dark, line)
            store(line, 13, bytes_, out[i][3 * first : 3 * stop])
            first = stop


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _background_gain_at(background, up, start, per_px, gain):  # type: ignore[no-untyped-def]
    """Write the background's gain at pixel `start` of a row, and its change per pixel, into `gain` [2,3]."""
    for c in range(3):
        right = (np.float32(start) + np.float32(0.5)) * per_px - np.float32(1.0)
        gain[0, c] = background[0, c] + up * background[2, c] + right * background[1, c]
        gain[1, c] = background[1, c] * per_px


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def roll_off(r, g, b, gain):  # type: ignore[no-untyped-def]
    """Return the factor that brings a brightened pixel back below white; 1 where the light did not brighten it."""
    one, knee = np.float32(1.0), np.float32(KNEE)
    peak = max(max(max(r, g), b), knee)
    over = peak - knee
    raised = min(max(gain - one, np.float32(0.0)) * np.float32(4.0), one)
    # The peak becomes knee + over / bend; one division in place of two.
    bend = one + over * np.float32(1 / (1 - KNEE))
    return one + raised * ((knee * bend + over) / (bend * peak) - one)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def faded(r, g, b, gr, gg, gb, dark):  # type: ignore[no-untyped-def]
    """Return a pixel's luma, what a share of it is multiplied by, and its gains.

    The part of a gain above 1 fades where the pixel is darker than `dark`.
    """
    one, zero = np.float32(1.0), np.float32(0.0)
    luma = np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b
    low, high = luma + np.float32(1e-4), luma + np.float32(dark)
    both = one / (low * high)  # one division in place of two
    trust = luma * low * both
    gr = min(gr, one) + trust * max(gr - one, zero)
    gg = min(gg, one) + trust * max(gg - one, zero)
    gb = min(gb, one) + trust * max(gb - one, zero)
    return luma, high * both, gr, gg, gb


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def lit_background(r, g, b, gr, gg, gb):  # type: ignore[no-untyped-def]
    """Return a pixel of the background under its gain; all are squares of code values."""
    _, _, gr, gg, gb = faded(r, g, b, gr, gg, gb, np.float32(DARK))
    r, g, b = r * gr, g * gg, b * gb
    keep = roll_off(r, g, b, max(max(gr, gg), gb))
    return r * keep, g * keep, b * keep


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def lit_person(r, g, b, gr, gg, gb, sr, sg, sb, dark=DARK):  # type: ignore[no-untyped-def]
    """Return a pixel of the person under its gain and specular term; all are squares of code values."""
    luma, per_luma, gr, gg, gb = faded(r, g, b, gr, gg, gb, dark)
    r, g, b = r * gr, g * gg, b * gb
    grey = np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b
    paler = np.float32(DESATURATION) * max(luma - grey, np.float32(0.0)) * per_luma
    highlight = luma + np.float32(SPECULAR_BASE)
    r += paler * (grey - r) + highlight * sr
    g += paler * (grey - g) + highlight * sg
    b += paler * (grey - b) + highlight * sb
    keep = roll_off(r, g, b, max(max(gr, gg), gb) + highlight * sg)
    return r * keep, g * keep, b * keep


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _only_dims(gain, count):  # type: ignore[no-untyped-def]
    """Return True where a gain that is `gain` [2,3] (value, change) at a run's begin lies in 0…1 all along it."""
    dims = True
    for c in range(3):
        end = gain[0, c] + np.float32(count - 1) * gain[1, c]
        dims = dims and min(gain[0, c], end) >= 0 and max(gain[0, c], end) <= 1
    return dims


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _background_roots(background, width):  # type: ignore[no-untyped-def]
    """Return the root of the background's gain [ROOT_ROWS,3·W] at heights from the picture's bottom to its top."""
    roots = np.empty((ROOT_ROWS, 3 * width), np.float32)
    for row in range(ROOT_ROWS):
        up = np.float32(2 * row / (ROOT_ROWS - 1) - 1)
        for c in range(3):
            begin, step = background[0, c] + up * background[2, c], background[1, c]
            for j in range(width):
                right = np.float32((2 * j + 1) / width - 1)
                roots[row, 3 * j + c] = np.sqrt(max(begin + right * step, np.float32(0.0)))
    return roots


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _dim_background(pixels, roots, up, first, stop, out):  # type: ignore[no-untyped-def]
    """Relight the bytes `first` to `stop` of a row of the background where nothing fades or rolls off."""
    at = (up + np.float32(1.0)) * np.float32((ROOT_ROWS - 1) / 2)
    row = min(int(at), ROOT_ROWS - 2)
    by = at - np.float32(row)
    below, above = roots[row][first:stop], roots[row + 1][first:stop]
    given, made = pixels[first:stop], out[first:stop]
    for k in range(given.shape[0]):
        root = below[k] + by * (above[k] - below[k])
        made[k] = np.uint8(np.int32(np.float32(given[k]) * root + np.float32(0.5)))


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _light_background(count, gain, line):  # type: ignore[no-untyped-def]
    """Relight a run of pixels that holds nothing of the person, by the background's gain alone."""
    zero = np.float32(0.0)
    wr, wg, wb = gain[0, 0], gain[0, 1], gain[0, 2]
    dr, dg, db = gain[1, 0], gain[1, 1], gain[1, 2]
    for j in range(count):
        x = np.float32(j)
        r, g, b = line[13, j] * line[13, j], line[14, j] * line[14, j], line[15, j] * line[15, j]
        gr, gg, gb = max(wr + x * dr, zero), max(wg + x * dg, zero), max(wb + x * db, zero)
        line[13, j], line[14, j], line[15, j] = lit_background(r, g, b, gr, gg, gb)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _light_inside(count, dark, line):  # type: ignore[no-untyped-def]
    """Relight a run of pixels that holds the person alone; rows 0…5 of `line` are gain and specular term."""
    for j in range(count):
        r, g, b = line[13, j] * line[13, j], line[14, j] * line[14, j], line[15, j] * line[15, j]
        line[13, j], line[14, j], line[15, j] = lit_person(
            r, g, b, line[0, j], line[1, j], line[2, j], line[3, j], line[4, j], line[5, j], dark
        )


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _light_mixed(count, gain, dark, line):  # type: ignore[no-untyped-def]
    """Relight a run of pixels that may hold the person and the background.

    Rows of `line`: gain (3), specular (3), alpha's colour coefficients and offset (4), ratio (3), the pixels (3).
    """
    one, zero = np.float32(1.0), np.float32(0.0)
    wr, wg, wb = gain[0, 0], gain[0, 1], gain[0, 2]
    dr, dg, db = gain[1, 0], gain[1, 1], gain[1, 2]
    for j in range(count):
        x = np.float32(j)
        r, g, b = line[13, j], line[14, j], line[15, j]
        alpha = line[6, j] * r + line[7, j] * g + line[8, j] * b + line[9, j]
        person = min(max((alpha - np.float32(ALPHA_LOW)) * np.float32(1 / ALPHA_RANGE), zero), one)
        # The person's share of each channel's light: a pixel of dark hair before a bright wall is mostly wall.
        rest = one - person + np.float32(1e-6)
        pr, pg, pb = person * line[10, j], person * line[11, j], person * line[12, j]
        tr, tg, tb = pr + rest, pg + rest, pb + rest
        all_three = one / (tr * tg * tb)  # one division in place of three
        sr, sg, sb = pr * tg * tb * all_three, pg * tr * tb * all_three, pb * tr * tg * all_three
        r, g, b = r * r, g * g, b * b
        gr, gg, gb = max(wr + x * dr, zero), max(wg + x * dg, zero), max(wb + x * db, zero)
        gr += sr * (line[0, j] - gr)
        gg += sg * (line[1, j] - gg)
        gb += sb * (line[2, j] - gb)
        luma, per_luma, gr, gg, gb = faded(r, g, b, gr, gg, gb, dark)
        r, g, b = r * gr, g * gg, b * gb
        grey = np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b
        paler = np.float32(DESATURATION) * max(luma - grey, zero) * per_luma * person
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
