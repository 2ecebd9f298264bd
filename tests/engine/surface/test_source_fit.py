"""The robust fit against the same steps in plain numpy."""

import numpy as np
from numpy.typing import NDArray

from engine.relighting.source_light import PRIOR
from engine.surface.source_fit import LEAST, RIDGE, ROUNDS, SPREAD, TUKEY, _robust_fit
from lcvd.lighting.sh import sh_basis


def slow_fit(
    basis: NDArray[np.float64], level: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    fit, trust = PRIOR, counts
    for _ in range(ROUNDS):
        weight = trust / np.square(np.maximum(basis @ fit, LEAST))
        weighted, ridge = basis * weight[:, None], (weight.sum() + 1e-3) * RIDGE
        fit = np.linalg.solve(weighted.T @ basis + np.diag(ridge), weighted.T @ level + ridge * PRIOR)
        if (counts > 0.3).any():
            error = np.abs(level / np.maximum(basis @ fit, LEAST) - 1)
            reach = TUKEY * (1.4826 * np.median(error[counts > 0.3]) + SPREAD)
            trust = counts * np.square(1 - np.minimum(error / reach, 1) ** 2)
    return np.asarray(fit)


def test_the_kernel_is_the_plain_fit() -> None:
    """With paint in the way, with pixels that do not count, and with none that count for certain."""
    rng = np.random.default_rng(3)
    normal = rng.normal(size=(900, 3)) + np.array([0, 0, 1.5])
    basis = sh_basis(normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float64)
    level = np.maximum(basis @ (PRIOR + 0.3 * rng.normal(size=9)), 0.1) * np.exp(0.1 * rng.normal(size=900))
    level[:60] *= 0.2
    for share in (1.0, 0.25, 0.0):
        counts = share * rng.uniform(0, 1, 900) * (rng.uniform(0, 1, 900) > 0.3)
        fit, predicted = _robust_fit(basis, level, counts, PRIOR, RIDGE)
        np.testing.assert_allclose(fit, slow_fit(basis, level, counts), rtol=0, atol=1e-9)
        np.testing.assert_allclose(predicted, basis @ fit, rtol=0, atol=1e-12)
