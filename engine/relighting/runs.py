"""Says which coarse cells a pixel lies between, and divides rows into runs of one kind of pixel.

A row is taken in runs: beside the person only the background counts, well inside the person alpha is 1, and only around
the contour is alpha worth its cost.
"""

from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray

ALPHA_LOW, ALPHA_RANGE = 0.25, 0.73  # nearly opaque counts as opaque, because local colours scatter
OPAQUE = ALPHA_LOW + ALPHA_RANGE
NOBODY, INSIDE, MIXED = 0, 1, 2  # kinds of a run: nothing of the person, the person alone, what only alpha can tell
LEAST_CELLS = 6  # a shorter run does not pay for a loop of its own


@lru_cache(maxsize=64)  # the same for every frame while the grid stays
def taps(count: int, start: int, length: int, cells: int) -> tuple[NDArray[np.uint32], FloatArray]:
    """Return, per pixel, the lower of the two cells it lies between and the weight of the upper one."""
    at = np.clip((np.arange(count) + 0.5 - start) * (cells / length) - 0.5, 0, cells - 1)
    low = np.minimum(at.astype(np.int32), max(cells - 2, 0))
    # Unsigned: an index that cannot be negative needs no check, and the compiler makes vectors.
    cells_, weights = low.astype(np.uint32), (at - low).astype(np.float32)
    cells_.flags.writeable = weights.flags.writeable = False
    return cells_, weights


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _kind(a):  # type: ignore[no-untyped-def]
    """Return the kind of a coarse cell with alpha's coefficients `a` [7]."""
    if a[0] != 0 or a[1] != 0 or a[2] != 0:
        return MIXED
    if a[3] >= np.float32(OPAQUE):
        return INSIDE
    return MIXED if a[3] > np.float32(0.9 * ALPHA_LOW) else NOBODY


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def runs_of(alpha, low):  # type: ignore[no-untyped-def]
    """Return the runs of the pixels between each coarse row and the next: ends and kinds [rows,cols], spans [rows,2].

    A run ends before pixel column `ends`; the last one ends at W. `spans` is the first and one past the last column
    in which a row holds any of the person. `low` [W] is the coarse cell left of each column. The rim's specular term
    (engine.relighting.surface.RIM_FW) ends within alpha's band unless the face fills the frame.
    """
    rows, cols, width = alpha.shape[0], alpha.shape[1], low.shape[0]
    ends = np.full((rows, cols), width, np.int64)
    kinds = np.zeros((rows, cols), np.uint8)
    spans = np.zeros((rows, 2), np.int64)
    starts = np.zeros(cols + 1, np.int64)  # first pixel column at or beyond the centre of each cell
    for j in range(width):
        starts[low[j] + 1] = j + 1
    for k in range(cols):
        starts[k + 1] = max(starts[k + 1], starts[k])
    cell, lower = np.empty(cols, np.uint8), np.empty(cols, np.uint8)
    for k in range(cols):
        lower[k] = _kind(alpha[0, k])
    for i in range(rows):
        below = min(i + 1, rows - 1)
        for k in range(cols):
            upper, lower[k] = lower[k], _kind(alpha[below, k])
            cell[k] = upper if upper == lower[k] else MIXED
        for k in range(cols - 1):  # from here on: of the pixels between this cell and the next
            if cell[k] != cell[k + 1]:
                cell[k] = MIXED
        count, k = 0, 0
        while k < cols:
            stop = k + 1
            while stop < cols and cell[stop] == cell[k]:
                stop += 1
            kind = cell[k] if stop - k >= LEAST_CELLS else MIXED
            if kind == NOBODY and k > 0 and stop < cols:
                kind = MIXED  # a gap, as under an arm: contours around it may spill their rim's light into it
            if count > 0 and kinds[i, count - 1] == kind:
                count -= 1
            ends[i, count], kinds[i, count] = starts[stop], kind
            count += 1
            k = stop
        first, last = 0, 0
        for run in range(count):
            if kinds[i, run] != NOBODY:
                first = first if last > 0 else (ends[i, run - 1] if run > 0 else 0)
                last = ends[i, run]
        spans[i, 0], spans[i, 1] = first, last
    return ends, kinds, spans


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def used_columns(spans, y_alpha, y_field, rows):  # type: ignore[no-untyped-def]
    """Return [rows,2]: the columns of a field's rows that pixels of the person lie between."""
    out = np.zeros((rows, 2), np.int64)
    for i in range(y_field.shape[0]):
        first, stop = spans[y_alpha[i], 0], spans[y_alpha[i], 1]
        if first < stop:
            for k in range(y_field[i], min(y_field[i] + 2, rows)):
                out[k, 0] = first if out[k, 1] == 0 else min(out[k, 0], first)
                out[k, 1] = max(out[k, 1], stop)
    return out
