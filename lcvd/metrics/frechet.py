"""Fréchet distance of two clouds of features, from running sums: what FID and FVD share.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", eq. 6: |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½). The
trace of the root is the sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric, so no complex root
appears. Covariances are unbiased (n − 1), as numpy.cov and every published FID have them.
"""

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError


class FeatureCloud:
    """Mean and covariance of features that come in batches; memory is D² whatever their number."""

    def __init__(self) -> None:
        self.count = 0
        self._origin: NDArray[np.float64] | None = None  # the first feature: sums about it lose no digits
        self._sum: NDArray[np.float64] | None = None
        self._outer: NDArray[np.float64] | None = None

    def add(self, features: NDArray[np.floating]) -> None:
        """Take features [N,D]. Raises ShapeError."""
        x = np.asarray(features, np.float64)
        if x.ndim != 2:
            raise ShapeError(f"features have shape {list(x.shape)}", "give [N,D]")
        if not np.isfinite(x).all():
            raise ShapeError("features are not finite", "the network or its weights are damaged")
        if self._origin is None or self._sum is None or self._outer is None:
            self._origin = x[0].copy()
            self._sum = np.zeros(x.shape[1])
            self._outer = np.zeros((x.shape[1], x.shape[1]))
        if x.shape[1] != len(self._origin):
            raise ShapeError(f"features have {x.shape[1]} numbers, the first had {len(self._origin)}")
        x = x - self._origin
        self._sum += x.sum(0)
        self._outer += x.T @ x
        self.count += len(x)

    def mean(self) -> NDArray[np.float64]:
        """[D]. Raises ShapeError without features."""
        if self._origin is None or self._sum is None:
            raise ShapeError("a cloud without features has no mean")
        return self._origin + self._sum / self.count

    def covariance(self) -> NDArray[np.float64]:
        """[D,D], unbiased. Raises ShapeError with fewer than two features."""
        if self._sum is None or self._outer is None or self.count < 2:
            raise ShapeError(f"a cloud of {self.count} has no covariance", "give at least two features")
        mean = self._sum / self.count
        covariance: NDArray[np.float64] = (self._outer - self.count * np.outer(mean, mean)) / (self.count - 1)
        return covariance


def frechet_distance(a: FeatureCloud, b: FeatureCloud) -> float:
    """Distance of two clouds, at least 0. Raises ShapeError."""
    first, second = a.covariance(), b.covariance()
    values, vectors = np.linalg.eigh(first)
    half = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ second @ half), 0))
    apart = float(np.square(a.mean() - b.mean()).sum())
    return max(0.0, apart + float(np.trace(first) + np.trace(second) - 2 * roots.sum()))
