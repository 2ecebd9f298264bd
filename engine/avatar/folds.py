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
REACH_PX = 6  # beyond the face's box in which folds are looked for


def soften_pixels(person: NDArray[np.uint8], uv_map: FloatArray, vertices_px: FloatArray) -> None:
    """Blur `person` [S,S,4] over 3 × 3 px along the folds of `uv_map` [S,S,2], in place, around a face's vertices."""
    size = person.shape[0]
    left, top = np.clip(np.floor(vertices_px[:, :2].min(0)).astype(int) - REACH_PX, 1, size - 2)
    right, bottom = np.clip(np.ceil(vertices_px[:, :2].max(0)).astype(int) + REACH_PX, 1, size - 2)
    if left < right and top < bottom:
        _soften(person, uv_map, int(top), int(bottom), int(left), int(right))


def soften_fields(fields: FloatArray, uv_map: FloatArray) -> None:
    """Blur `fields` [C,G,G] along the folds of `uv_map` [S,S,2] px, in place; G divides S."""
    cells = fields.shape[1]
    step = uv_map.shape[0] // cells
    jump = np.zeros((cells, cells), np.float32)
    least, full = (np.float32(count * step) for count in JUMP_CELLS)
    if not _jumps(uv_map, step, least, np.float32(1 / (full - least)), jump):
        return
    weight = np.minimum(3 * cv2.blur(cv2.dilate(jump, np.ones((3, 3), np.uint8)), (3, 3)), 1)
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


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _soften(person, uv, top, bottom, left, right):  # type: ignore[no-untyped-def]
    width = right - left
    fold = np.zeros((bottom - top, width), np.uint8)
    line = np.empty(2 * width, np.float32)
    count = 0
    for i in range(top, bottom):  # jumps to the next pixel and to the row below
        here, below = uv[i].reshape(-1)[2 * left :], uv[i + 1].reshape(-1)[2 * left :]
        most = np.float32(0.0)
        for k in range(2 * width):
            line[k] = max(abs(here[k + 2] - here[k]), abs(below[k] - here[k]))
            most = max(most, line[k])
        if most <= np.float32(JUMP_PX):
            continue
        row = i - top
        for k in range(width):
            if max(line[2 * k], line[2 * k + 1]) > np.float32(JUMP_PX):
                u, v = 2 * k, 2 * k + 1
                fold[row, k] = 1
                if k + 1 < width and max(abs(here[u + 2] - here[u]), abs(here[v + 2] - here[v])) > np.float32(JUMP_PX):
                    fold[row, k + 1] = 1
                if row + 1 < fold.shape[0] and max(abs(below[u] - here[u]), abs(below[v] - here[v])) > np.float32(
                    JUMP_PX
                ):
                    fold[row + 1, k] = 1
                count += 3
    blurred, at, n = np.empty((count, 4), np.uint8), np.empty((count, 2), np.int64), 0
    for row in range(fold.shape[0] if count > 0 else 0):
        for k in range(width):
            if fold[row, k] == 1:
                i, j = top + row, left + k
                for c in range(4):
                    sides = int(person[i - 1, j, c]) + int(person[i + 1, j, c])
                    sides += int(person[i, j - 1, c]) + int(person[i, j + 1, c])
                    corners = int(person[i - 1, j - 1, c]) + int(person[i - 1, j + 1, c])
                    corners += int(person[i + 1, j - 1, c]) + int(person[i + 1, j + 1, c])
                    blurred[n, c] = np.uint8((4 * int(person[i, j, c]) + 2 * sides + corners + 8) >> 4)
                at[n, 0], at[n, 1] = i, j
                n += 1
    for k in range(n):
        for c in range(4):
            person[at[k, 0], at[k, 1], c] = blurred[k, c]
