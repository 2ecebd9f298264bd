"""positive_solve solves small systems inside compiled kernels: numba's own linear algebra needs SciPy."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def positive_solve(matrix, x):  # type: ignore[no-untyped-def]
    """Solve `matrix` [N,N] for `x` [N], both in place, by Cholesky's factors of its lower half.

    Returns False where the matrix is not positive definite; `x` then means nothing.
    """
    count = len(x)
    for i in range(count):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                if total <= 1e-12:
                    return False
                matrix[i, i] = np.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    for i in range(count):
        for k in range(i):
            x[i] -= matrix[i, k] * x[k]
        x[i] /= matrix[i, i]
    for i in range(count - 1, -1, -1):
        for k in range(i + 1, count):
            x[i] -= matrix[k, i] * x[k]
        x[i] /= matrix[i, i]
    return True
