"""This module computes the mean and standard error over heads, and the paired difference of two rows.

Heads differ by far more than variants do, so the difference is taken head by head first and only its own scatter is
left. NaN (a head that could not be measured) is left out, of both rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.scores import Scores


@dataclass(frozen=True, slots=True)
class Mean:
    """Holds mean and standard error over `heads`; NaN where there are too few."""

    value: float
    error: float  # of the mean
    heads: int


def mean_of(values: Sequence[float]) -> Mean:
    """Returns the mean of the finite values."""
    finite = [value for value in values if math.isfinite(value)]
    count = len(finite)
    value = float(np.mean(finite)) if count else math.nan
    error = float(np.std(finite, ddof=1) / math.sqrt(count)) if count > 1 else math.nan
    return Mean(value, error, count)


def column_of(row: Sequence[Scores], metric: str) -> Mean:
    """Returns the mean of one metric of a row."""
    return mean_of([getattr(scores, metric) for scores in row])


def difference(a: Sequence[Scores], b: Sequence[Scores], metric: str) -> Mean:
    """Returns the mean of a - b, head by head."""
    return mean_of([getattr(x, metric) - getattr(y, metric) for x, y in zip(a, b, strict=True)])
