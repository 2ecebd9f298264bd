"""Where a turned head hides part of itself, the uv map jumps: a fold. Its edge is drawn soft, in pixels and in light.

A fold's edge runs through a map that has one source a pixel, so that it would be a staircase, and through fields of
light that have one sample a cell, so that a light from behind would draw it dotted. Alpha's own edges need none of it.
"""

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray

JUMP_PX = 3.0  # between neighbouring pixels; stretched skin stays below
JUMP_CELLS = 1.8, 2.6  # between neighbouring cells: no fold up to the first, all of one from the second on


def folds_of(uv_map: FloatArray, cells: int) -> FloatArray | None:
    """Return how much of a fold there is at each cell [G,G], G = `cells`, of `uv_map` [S,S,2] px; None without any."""
    step = uv_map.shape[0] // cells
    jump = np.zeros((cells, cells), np.float32)
    least, full = (np.float32(count * step) for count in JUMP_CELLS)
    if not _jumps(uv_map, step, least, np.float32(1 / (full - least)), jump):
        return None
    return np.asarray(cv2.dilate(jump, np.ones((3, 3), np.uint8)), np.float32)


def soften_pixels(person: NDArray[np.uint8], uv_map: FloatArray, folds: FloatArray) -> None:
    """Blur `person` [S,S,4] over 3 × 3 px along the jumps of `uv_map` [S,S,2], in place, in the cells of `folds`."""
    _soften(person, uv_map, folds)


def soften_fields(fields: FloatArray, folds: FloatArray) -> None:
    """Blur `fields` [C,G,G] along the `folds` [G,G], in place."""
    weight = np.minimum(3 * cv2.blur(folds, (3, 3)), 1)
    for field in fields:
        field += weight * (cv2.blur(cv2.blur(field, (3, 3)), (3, 3)) - field)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _jumps(uv, step, least, scale, out):  # type: ignore[no-untyped-def]
    """Write how much of a fold lies between each cell and those left of it and above; return whether there is any."""
    found = False
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            y, x = step // 2 + i * step, step // 2 + j * step
            u, v, most = uv[y, x, 0], uv[y, x, 1], np.float32(0.0)
            if j > 0:
                most = max(abs(u - uv[y, x - step, 0]), abs(v - uv[y, x - step, 1]))
            if i > 0:
                most = max(most, max(abs(u - uv[y - step, x, 0]), abs(v - uv[y - step, x, 1])))
            if most > least:
                out[i, j] = min((most - least) * scale, np.float32(1.0))
                found = True
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _soften(person, uv, folds):  # type: ignore[no-untyped-def]
    size, step = uv.shape[0], uv.shape[0] // folds.shape[0]
    cells = 0
    for row in range(folds.shape[0]):
        for column in range(folds.shape[1]):
            cells += folds[row, column] > 0
    blurred = np.empty((cells * step * step, 4), np.uint8)
    at, count = np.empty((cells * step * step, 2), np.int64), 0
    for row in range(folds.shape[0]):
        for column in range(folds.shape[1]):
            if folds[row, column] > 0:
                for i in range(max(row * step, 1), min((row + 1) * step, size - 1)):
                    for j in range(max(column * step, 1), min((column + 1) * step, size - 1)):
                        if _is_edge(uv, i, j):
                            at[count, 0], at[count, 1] = i, j
                            for c in range(4):
                                blurred[count, c] = _binomial(person, i, j, c)
                            count += 1
    for k in range(count):
        for c in range(4):
            person[at[k, 0], at[k, 1], c] = blurred[k, c]


@numba.njit(nogil=True, error_model="numpy", inline="always")
def _is_edge(uv, i, j):  # type: ignore[no-untyped-def]
    u, v = uv[i, j, 0], uv[i, j, 1]
    most = max(
        max(abs(uv[i, j + 1, 0] - u), abs(uv[i, j + 1, 1] - v)), max(abs(uv[i, j - 1, 0] - u), abs(uv[i, j - 1, 1] - v))
    )
    most = max(most, max(abs(uv[i + 1, j, 0] - u), abs(uv[i + 1, j, 1] - v)))
    return max(most, max(abs(uv[i - 1, j, 0] - u), abs(uv[i - 1, j, 1] - v))) > np.float32(JUMP_PX)


@numba.njit(nogil=True, error_model="numpy", inline="always")
def _binomial(person, i, j, c):  # type: ignore[no-untyped-def]
    sides = int(person[i - 1, j, c]) + int(person[i + 1, j, c]) + int(person[i, j - 1, c]) + int(person[i, j + 1, c])
    corners = int(person[i - 1, j - 1, c]) + int(person[i - 1, j + 1, c])
    corners += int(person[i + 1, j - 1, c]) + int(person[i + 1, j + 1, c])
    return np.uint8((4 * int(person[i, j, c]) + 2 * sides + corners + 8) >> 4)
