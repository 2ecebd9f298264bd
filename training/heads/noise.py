"""This module makes smooth random fields and ramps, with which all painters mix colours."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.types import FloatArray


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> FloatArray:
    """Returns float32 [H,W], about standard normal; `cells` = the number of bumps down and across."""
    rows, cols = max(int(np.ceil(cells[0])), 1) + 3, max(int(np.ceil(cells[1])), 1) + 3
    grid = rng.standard_normal((rows, cols), np.float32)
    grown = cv2.resize(
        grid, (int(shape[1] * cols / (cols - 3)) + 1, int(shape[0] * rows / (rows - 3)) + 1), None, 0, 0, 2
    )
    top, left = (grown.shape[0] - shape[0]) // 2, (grown.shape[1] - shape[1]) // 2
    return np.ascontiguousarray(grown[top : top + shape[0], left : left + shape[1]], np.float32)


def ramp(x: ArrayLike, low: float, high: float) -> FloatArray:
    """Returns 0 below `low`, 1 above `high`, a smooth 3t²-2t³ between; with `low` > `high` it falls instead."""
    t: NDArray[np.floating] = np.clip((np.asarray(x, np.float32) - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def mix(base: FloatArray, over: ArrayLike, alpha: FloatArray) -> FloatArray:
    """Covers colours `base` [H,W,3] by `over` ([3] or [H,W,3]) with opacity `alpha` [H,W]."""
    return base + alpha[..., None] * (np.asarray(over, np.float32) - base)
