"""noise3 is a smooth random field over space: paint and relief that stay on a head whatever its pose."""

import numba
import numpy as np
from numpy.typing import ArrayLike

from lcvd.types import FloatArray


def noise3(points: FloatArray, scale_cm: ArrayLike, seed: int) -> FloatArray:
    """Returns values in −1…1 at `points` [N,3]; features are about `scale_cm` wide, one number or [3] for each axis."""
    at = np.asarray(points, np.float64) / np.asarray(scale_cm, np.float64)
    out = np.empty(len(at), np.float32)
    _noise(np.ascontiguousarray(at), np.uint64(seed & 0xFFFFFFFF), out)
    return out


@numba.njit(cache=True, nogil=True)
def _hash(i, j, k, seed):  # type: ignore[no-untyped-def]
    x = np.uint64(i) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(j) * np.uint64(0xC2B2AE3D27D4EB4F)
    x ^= np.uint64(k) * np.uint64(0x165667B19E3779F9) ^ seed * np.uint64(0xD6E8FEB86659FD93)
    x ^= x >> np.uint64(29)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(32)
    return np.float64(x & np.uint64(0xFFFFFF)) / 8388607.5 - 1.0


@numba.njit(cache=True, nogil=True)
def _noise(at, seed, out):  # type: ignore[no-untyped-def]
    for n in range(len(at)):
        i, j, k = int(np.floor(at[n, 0])), int(np.floor(at[n, 1])), int(np.floor(at[n, 2]))
        u, v, w = at[n, 0] - i, at[n, 1] - j, at[n, 2] - k
        u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
        total = 0.0
        for di in range(2):
            for dj in range(2):
                for dk in range(2):
                    weight = (u if di else 1 - u) * (v if dj else 1 - v) * (w if dk else 1 - w)
                    total += weight * _hash(i + di, j + dj, k + dk, seed)
        out[n] = total
