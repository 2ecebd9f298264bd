"""The screened Poisson solve fits a smooth field to scattered, weighted targets: argmin Σ w |u − t|² + |∇u|².

Cascadic multigrid: targets are summed down to at most 8 cells a side and solved there; each finer level starts from the
coarser one's answer and takes a few red-black Gauss–Seidel sweeps. In two dimensions ∫|∇u|² does not change with scale,
so a coarse cell's weight is the sum of its four cells' weights. The dense reference solution is in
tests/engine/relighting/test_screened_poisson.py.
"""

import numba
import numpy as np

from lcvd.types import FloatArray

COARSE_SWEEPS = 40
SWEEPS = 6


def solve_screened_poisson(weighted: FloatArray, weight: FloatArray, sweeps: int = SWEEPS) -> FloatArray:
    """Solve for u [H,W,C], given `weighted` = w·t [H,W,C] and `weight` = w [H,W], of which some must be positive.

    `sweeps` is the number of Gauss–Seidel sweeps on every level but the coarsest.
    """
    # Channels lie one after the other in here, and each in a border of zeros: rows of one channel make vectors.
    levels = [(np.ascontiguousarray(weighted.transpose(2, 0, 1)), weight)]
    while max(levels[-1][1].shape) > 8:
        levels.append(_restrict(*levels[-1]))
    rows, cols = levels[-1][1].shape
    u = np.zeros((weighted.shape[2], rows + 2, cols + 2), np.float32)
    total = float(levels[-1][1].sum())
    u[:, 1:-1, 1:-1] = (levels[-1][0].sum((1, 2)) / max(total, 1e-9))[:, None, None]
    _sweep(u, *levels[-1], COARSE_SWEEPS)
    for weighted, weight in reversed(levels[:-1]):
        u = _prolong(u, *weight.shape)
        _sweep(u, weighted, weight, sweeps)
    return np.ascontiguousarray(u[:, 1:-1, 1:-1].transpose(1, 2, 0))


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _restrict(weighted, weight):  # type: ignore[no-untyped-def]
    count, height, width = weighted.shape
    rows, cols = (height + 1) // 2, (width + 1) // 2
    coarse = np.zeros((count, rows, cols), np.float32)
    coarse_weight = np.zeros((rows, cols), np.float32)
    for i in range(height):
        for j in range(width):
            coarse_weight[i // 2, j // 2] += weight[i, j]
    for k in range(count):
        for i in range(height):
            for j in range(width):
                coarse[k, i // 2, j // 2] += weighted[k, i, j]
    return coarse, coarse_weight


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _prolong(coarse, height, width):  # type: ignore[no-untyped-def]
    """Interpolate `coarse` [C,rows+2,cols+2] to twice the size, [C,height+2,width+2]."""
    count, rows, cols = coarse.shape[0], coarse.shape[1] - 2, coarse.shape[2] - 2
    fine = np.zeros((count, height + 2, width + 2), np.float32)
    near, far = np.float32(0.75), np.float32(0.25)
    line = np.empty(cols + 2, np.float32)
    for k in range(count):
        for i in range(height):
            own = i // 2
            other = min(max(own - 1 if i % 2 == 0 else own + 1, 0), rows - 1)
            upper, lower = coarse[k, own + 1], coarse[k, other + 1]
            for j in range(cols + 2):
                line[j] = near * upper[j] + far * lower[j]
            line[0], line[cols + 1] = line[1], line[cols]
            row = fine[k, i + 1]
            for j in range(width // 2):
                row[2 * j + 1] = near * line[j + 1] + far * line[j]
                row[2 * j + 2] = near * line[j + 1] + far * line[j + 2]
            if width % 2:
                row[width] = near * line[cols] + far * line[cols - 1]
    return fine


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sweep(u, weighted, weight, sweeps):  # type: ignore[no-untyped-def]
    """Take red-black Gauss–Seidel sweeps over `u` [C,H+2,W+2], whose border of zeros stays."""
    count, height, width = weighted.shape
    inverse = np.empty((height, width), np.float32)
    for i in range(height):
        vertical = np.float32(i > 0) + np.float32(i < height - 1)
        for j in range(width):
            neighbours = vertical + np.float32(j > 0) + np.float32(j < width - 1)
            inverse[i, j] = np.float32(1.0) / (weight[i, j] + np.float32(1e-9) + neighbours)
    new = np.empty(width, np.float32)
    for sweep in range(2 * sweeps):
        for k in range(count):
            for i in range(height):
                above, row, below, target = u[k, i], u[k, i + 1], u[k, i + 2], weighted[k, i]
                odd = (i + sweep) & 1
                # Every cell is computed and every second one written: half the work for nothing, but in vectors.
                for j in range(width):
                    new[j] = (target[j] + above[j + 1] + below[j + 1] + row[j] + row[j + 2]) * inverse[i, j]
                for j in range(width):
                    row[j + 1] = row[j + 1] if (j & 1) ^ odd else new[j]
