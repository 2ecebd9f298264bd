"""The multigrid screened Poisson solve approximates the dense linear solve."""

import numpy as np
import pytest

from engine.relighting.screened_poisson import solve_screened_poisson


def dense(weighted, weight):
    """Solve (W + L) u = W t, where L is the graph Laplacian of the grid."""
    height, width = weight.shape
    count = height * width
    matrix = np.diag(weight.ravel().astype(float))
    index = np.arange(count).reshape(height, width)
    for a, b in ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:])):
        for i, j in zip(a.ravel(), b.ravel(), strict=True):
            matrix[i, i] += 1
            matrix[j, j] += 1
            matrix[i, j] -= 1
            matrix[j, i] -= 1
    return np.linalg.solve(matrix, weighted.reshape(count, -1)).reshape(weighted.shape)


@pytest.mark.parametrize("size", [(12, 17), (24, 20), (7, 5)])
def test_close_to_the_dense_solution(size):
    """Six sweeps a level come within 6 % of the exact field even for white noise, eighty within half a percent."""
    rng = np.random.default_rng(0)
    weight = (0.03 + 8 * (rng.random(size) > 0.8)).astype(np.float32)
    target = rng.normal(0, 1, (*size, 2)).astype(np.float32)
    weighted = target * weight[..., None]
    exact = dense(weighted, weight)
    for sweeps, share in ((6, 0.06), (80, 0.005)):
        error = np.abs(solve_screened_poisson(weighted, weight, sweeps) - exact)
        assert error.mean() < share * np.abs(exact).mean()


def test_constant_target_is_constant():
    """Equal targets everywhere give that value everywhere, borders included."""
    weight = np.random.default_rng(1).random((19, 33)).astype(np.float32)
    u = solve_screened_poisson(weight[..., None] * 0.7, weight)
    np.testing.assert_allclose(u, 0.7, atol=1e-4)


def test_strong_targets_are_kept_and_interpolated():
    """Two strong targets pull the field to their values, and between them it is monotonic."""
    weight = np.full((9, 33), 1e-4, np.float32)
    weighted = np.zeros((9, 33, 1), np.float32)
    weight[:, 0], weight[:, 32] = 50, 50
    weighted[:, 32, 0] = 50
    u = solve_screened_poisson(weighted, weight, sweeps=12)[4, :, 0]
    assert u[0] < 0.05
    assert u[32] > 0.95
    assert (np.diff(u) > 0).all()
