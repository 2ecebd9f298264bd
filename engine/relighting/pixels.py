"""Rows of interleaved RGB bytes become three rows of floats and back, for kernels that work on floats of one channel.

Read and written byte by byte where three channels alternate, a row costs ten times as much: taken apart as bytes
(one shuffle), then converted with neighbours side by side, both steps become whole vectors.
"""

import numba
import numpy as np

MAX_WIDTH_PX = 8192
STRIDE = MAX_WIDTH_PX + 16  # not a multiple of 4 KiB, so that the scratch's rows do not share cache sets


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def load(pixels, bytes_, line, row):  # type: ignore[no-untyped-def]
    """Write `pixels` [3·N] of 0…255 as 0…1 into rows `row` … `row` + 2 of `line`; `bytes_` [3,STRIDE] is scratch."""
    count = pixels.shape[0] // 3
    for j in range(np.uint32(count)):  # unsigned: no check for an index below zero stands in the way of vectors
        bytes_[0, j], bytes_[1, j], bytes_[2, j] = pixels[3 * j], pixels[3 * j + 1], pixels[3 * j + 2]
    for c in range(3):
        for j in range(count):
            line[row + c, j] = np.float32(bytes_[c, j]) * np.float32(1 / 255)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def load_rgba(pixels, bytes_, line, row):  # type: ignore[no-untyped-def]
    """Do as `load` for `pixels` [4·N], into four rows."""
    count = pixels.shape[0] // 4
    for j in range(np.uint32(count)):
        bytes_[0, j], bytes_[1, j] = pixels[4 * j], pixels[4 * j + 1]
        bytes_[2, j], bytes_[3, j] = pixels[4 * j + 2], pixels[4 * j + 3]
    for c in range(4):
        for j in range(count):
            line[row + c, j] = np.float32(bytes_[c, j]) * np.float32(1 / 255)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def store(line, row, bytes_, pixels):  # type: ignore[no-untyped-def]
    """Write rows `row` … `row` + 2 of `line`, squares of code values in 0…1 and above, as `pixels` [3·N]."""
    count = pixels.shape[0] // 3
    for c in range(3):
        for j in range(count):
            value = min(np.sqrt(line[row + c, j]) * np.float32(255.0) + np.float32(0.5), np.float32(255.0))
            bytes_[c, j] = np.uint8(np.int32(value))
    for j in range(np.uint32(count)):
        pixels[3 * j], pixels[3 * j + 1], pixels[3 * j + 2] = bytes_[0, j], bytes_[1, j], bytes_[2, j]
