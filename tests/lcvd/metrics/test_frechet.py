"""Fréchet distance against analytic answers and an independent derivation."""

import numpy as np
import pytest

from lcvd.errors import ShapeError
from lcvd.metrics.frechet import FeatureCloud, frechet_distance


def cloud_of(features: np.ndarray, batch: int = 1000) -> FeatureCloud:
    cloud = FeatureCloud()
    for start in range(0, len(features), batch):
        cloud.add(features[start : start + batch])
    return cloud


def by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """The slow twin: eigenvalues of the unsymmetric product Σ₁Σ₂ itself."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0)).sum()
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * roots)


def test_moments_equal_numpys_whatever_the_batches() -> None:
    """Mean and unbiased covariance from running sums, even far from the origin."""
    x = np.random.default_rng(0).normal(1e5, 2, (57, 6))
    for batch in (1, 10, 57):
        cloud = cloud_of(x, batch)
        assert np.allclose(cloud.mean(), x.mean(0))
        assert np.allclose(cloud.covariance(), np.cov(x, rowvar=False))


def test_a_shifted_cloud_is_as_far_as_the_shift() -> None:
    """Equal covariances cancel: only |Δμ|² is left."""
    x = np.random.default_rng(1).normal(size=(40, 5))
    shift = np.array([1.0, -2, 0, 3, 0.5])
    assert frechet_distance(cloud_of(x), cloud_of(x)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(cloud_of(x), cloud_of(x + shift)) == pytest.approx(np.square(shift).sum())


def test_a_stretched_cloud_is_analytic() -> None:
    """About its own mean, s times as wide: (1 - s)² tr Σ."""
    x = np.random.default_rng(2).normal(size=(40, 5))
    x -= x.mean(0)
    expected = (1 - 3) ** 2 * np.trace(np.cov(x, rowvar=False))
    assert frechet_distance(cloud_of(x), cloud_of(3 * x)) == pytest.approx(expected)


@pytest.mark.parametrize("count", [4, 200])
def test_general_clouds_agree_with_the_definition(count: int) -> None:
    """Also with fewer features than dimensions, where covariances are singular."""
    rng = np.random.default_rng(3)
    mix = rng.normal(size=(8, 8))
    a, b = rng.normal(size=(count, 8)), rng.normal(0.3, 1.4, size=(count, 8)) @ mix
    assert frechet_distance(cloud_of(a), cloud_of(b)) == pytest.approx(by_definition(a, b), rel=1e-5)


def test_bad_features_are_refused() -> None:
    """A covariance of one, another dimension and numbers that are not finite."""
    one = cloud_of(np.zeros((1, 3)))
    with pytest.raises(ShapeError, match="covariance"):
        one.covariance()
    with pytest.raises(ShapeError, match="first had 3"):
        one.add(np.zeros((1, 4)))
    with pytest.raises(ShapeError, match="finite"):
        one.add(np.full((1, 3), np.nan))
