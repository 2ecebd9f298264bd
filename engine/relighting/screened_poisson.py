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
    levels = [(weighted, weight)]
    while max(levels[-1][1].shape) > 8:
        levels.append(_restrict(*levels[-1]))
    total = float(levels[-1][1].sum())
    u = np.empty_like(levels[-1][0])
    u[:] = levels[-1][0].sum((0, 1)) / max(total, 1e-9)
    _sweep(u, *levels[-1], COARSE_SWEEPS)
    for weighted, weight in reversed(levels[:-1]):
        fine = np.empty_like(weighted)
        _prolong(u, fine)
        _sweep(fine, weighted, weight, sweeps)
        u = fine
    return u


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _restrict(weighted, weight):  # type: ignore[no-untyped-def]
    height, width, count = weighted.shape
    rows, cols = (height + 1) // 2, (width + 1) // 2
    coarse = np.zeros((rows, cols, count), np.float32)
    coarse_weight = np.zeros((rows, cols), np.float32)
    for i in range(height):
        for j in range(width):
            coarse_weight[i // 2, j // 2] += weight[i, j]
            for k in range(count):
                coarse[i // 2, j // 2, k] += weighted[i, j, k]
    return coarse, coarse_weight


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _prolong(coarse, fine):  # type: ignore[no-untyped-def]
    height, width, count = fine.shape
    rows, cols = coarse.shape[0], coarse.shape[1]
    for i in range(height):
        y = min(max(0.5 * i - 0.25, 0.0), rows - 1.0)
        i0 = int(y)
        i1 = min(i0 + 1, rows - 1)
        v = np.float32(y - i0)
        for j in range(width):
            x = min(max(0.5 * j - 0.25, 0.0), cols - 1.0)
            j0 = int(x)
            j1 = min(j0 + 1, cols - 1)
            h = np.float32(x - j0)
            for k in range(count):
                upper = coarse[i0, j0, k] + h * (coarse[i0, j1, k] - coarse[i0, j0, k])
                lower = coarse[i1, j0, k] + h * (coarse[i1, j1, k] - coarse[i1, j0, k])
                fine[i, j, k] = upper + v * (lower - upper)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sweep(u, weighted, weight, sweeps):  # type: ignore[no-untyped-def]
    height, width, count = u.shape
    for sweep in range(2 * sweeps):
        for i in range(height):
            for j in range((i + sweep) % 2, width, 2):
                neighbours = np.float32(0.0)
                total = weight[i, j] + np.float32(1e-9)
                if i > 0:
                    neighbours += np.float32(1.0)
                if i < height - 1:
                    neighbours += np.float32(1.0)
                if j > 0:
                    neighbours += np.float32(1.0)
                if j < width - 1:
                    neighbours += np.float32(1.0)
                inverse = np.float32(1.0) / (total + neighbours)
                for k in range(count):
                    value = weighted[i, j, k]
                    if i > 0:
                        value += u[i - 1, j, k]
                    if i < height - 1:
                        value += u[i + 1, j, k]
                    if j > 0:
                        value += u[i, j - 1, k]
                    if j < width - 1:
                        value += u[i, j + 1, k]
                    u[i, j, k] = value * inverse
