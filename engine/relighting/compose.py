"""Two layers, a person with alpha and a background, are lit and composited in one pass over the pixels, uint8 → uint8.

As in engine.relighting.apply, pixels are squares of their code values, gains are made for that, and highlights roll off
by one factor. Both layers are known here, so each is lit before they are mixed, and no pair of gains leaves a halo.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from engine.relighting.apply import lit_background, lit_person, stretch
from engine.relighting.pixels import STRIDE, load, load_rgba, store
from engine.relighting.runs import taps
from lcvd.types import FloatArray


def compose(
    person: NDArray[np.uint8], background: NDArray[np.uint8], fields: FloatArray, background_gain: FloatArray
) -> NDArray[np.uint8]:
    """Return `person` [H,W,4] (straight RGB and alpha) lit and laid over `background` [H,W,3]: [H,W,3].

    `fields` [6,rows,cols] over the whole picture holds the person's RGB gain and RGB specular term
    (engine.relighting.shading). `background_gain` [3,3] holds the RGB gain at the picture's centre, its change to the
    right edge and its change to the top edge, a row each (engine.relighting.background). W is at most MAX_WIDTH_PX.
    """
    height, width = background.shape[:2]
    x, wx = taps(width, 0, width, fields.shape[2])
    y, wy = taps(height, 0, height, fields.shape[1])
    out = np.empty_like(background, order="C")
    _compose(
        np.ascontiguousarray(person).reshape(height, -1), np.ascontiguousarray(background).reshape(height, -1),
        fields.transpose(1, 2, 0), x, wx, y, wy, background_gain, out.reshape(height, -1),
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _compose(person, background, fields, x, wx, y, wy, gain, out):  # type: ignore[no-untyped-def]
    height, width = out.shape[0], out.shape[1] // 3
    line = np.empty((13, STRIDE), np.float32)
    bytes_ = np.empty((4, STRIDE), np.uint8)
    wide, held, span = np.empty((2, 6, width), np.float32), np.full(2, -1), np.array([0, width])
    last = fields.shape[0] - 1
    for i in range(height):
        first, stop = 0, width
        while first < width and person[i, 4 * first + 3] == 0:
            first += 1
        while stop > first and person[i, 4 * stop - 1] == 0:
            stop -= 1
        load(background[i], bytes_, line, 0)
        _light_background(width, gain, np.float32(1.0) - (np.float32(2.0) * i + np.float32(1.0)) / height, line)
        if first < stop:
            f0, fv = int(y[i]), wy[i]
            f1 = min(f0 + 1, last)
            for row in range(f0, f1 + 1):
                if held[row % 2] != row:
                    stretch(fields, row, x, wx, span, held, wide)
            for c in range(6):
                upper, lower = wide[f0 % 2, c][first:stop], wide[f1 % 2, c][first:stop]
                for j in range(upper.shape[0]):
                    line[3 + c, j] = upper[j] + fv * (lower[j] - upper[j])
            load_rgba(person[i][4 * first : 4 * stop], bytes_, line, 9)
            _lay_person(stop - first, first, line)
        store(line, 0, bytes_, out[i])


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _light_background(width, gain, up, line):  # type: ignore[no-untyped-def]
    """Light the background in rows 0…2 of `line`: code values in, squares out."""
    zero = np.float32(0.0)
    wr = gain[0, 0] + up * gain[2, 0] - gain[1, 0]
    wg = gain[0, 1] + up * gain[2, 1] - gain[1, 1]
    wb = gain[0, 2] + up * gain[2, 2] - gain[1, 2]
    per_px = np.float32(2.0) / np.float32(width)
    dr, dg, db = gain[1, 0] * per_px, gain[1, 1] * per_px, gain[1, 2] * per_px
    for j in range(width):
        x = np.float32(j) + np.float32(0.5)
        r, g, b = line[0, j] * line[0, j], line[1, j] * line[1, j], line[2, j] * line[2, j]
        gr, gg, gb = max(wr + x * dr, zero), max(wg + x * dg, zero), max(wb + x * db, zero)
        line[0, j], line[1, j], line[2, j] = lit_background(r, g, b, gr, gg, gb)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _lay_person(count, start, line):  # type: ignore[no-untyped-def]
    """Lay a run of the person (rows 9…12 of `line`), lit by rows 3…8, over rows 0…2 from `start` on."""
    red, green, blue = line[0][start : start + count], line[1][start : start + count], line[2][start : start + count]
    for j in range(count):
        r, g, b = line[9, j] * line[9, j], line[10, j] * line[10, j], line[11, j] * line[11, j]
        r, g, b = lit_person(r, g, b, line[3, j], line[4, j], line[5, j], line[6, j], line[7, j], line[8, j])
        a = line[12, j]
        line[9, j] = red[j] + a * (r - red[j])
        line[10, j] = green[j] + a * (g - green[j])
        line[11, j] = blue[j] + a * (b - blue[j])
    for j in range(count):
        red[j], green[j], blue[j] = line[9, j], line[10, j], line[11, j]
