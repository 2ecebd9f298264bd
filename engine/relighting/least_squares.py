"""Weighted least squares on few coefficients, in pieces that robust fits inside kernels share."""

import numba
import numpy as np

from lcvd.positive_solve import positive_solve


@numba.njit(cache=True, nogil=True, error_model="numpy")
def predict(basis, fit, out):  # type: ignore[no-untyped-def]
    """Write what the coefficients `fit` [K] of `basis` [N,K] give into `out` [N]; numba's own product needs SciPy."""
    for i in range(basis.shape[0]):
        out[i] = 0.0
        for c in range(basis.shape[1]):
            out[i] += basis[i, c] * fit[c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def normal_equations(basis, y, weight, normal, right):  # type: ignore[no-untyped-def]
    """Write Σ w b bᵀ into `normal` [K,K] and Σ w b y into `right` [K], for `basis` [N,K], `y` and `weight` [N] ≥ 0."""
    normal[:], right[:] = 0.0, 0.0
    count = basis.shape[1]
    for i in range(basis.shape[0]):
        if weight[i] == 0:
            continue
        for c in range(count):
            scaled = weight[i] * basis[i, c]
            right[c] += scaled * y[i]
            for d in range(c + 1):
                normal[c, d] += scaled * basis[i, d]
    for c in range(count):
        for d in range(c):
            normal[d, c] = normal[c, d]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def ridge_solve(normal, right, ridge, start):  # type: ignore[no-untyped-def]
    """Return the coefficients [9] of the normal equations `normal` [9,9], `right` [9], drawn to `start` [9].

    `ridge` [9] says how strongly, and makes the matrix positive definite.
    """
    count = len(right)
    matrix, x = np.empty((count, count)), np.empty(count)
    for i in range(count):
        for j in range(count):
            matrix[i, j] = normal[i, j]
        matrix[i, i] += ridge[i]
        x[i] = right[i] + ridge[i] * start[i]
    positive_solve(matrix, x)
    return x
