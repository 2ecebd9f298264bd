"""Repairs pixels of a panorama that are no number: a sun beyond the largest half float, and a renderer's stray pixels.

Infinity says only "more than 65504". In a disc that is bright in its other channels, or around them, it is a light, and
the file's own brightest values say how bright and of which colour. A pixel or two in dull surroundings are a fault of
the renderer (a "firefly"), and no light.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray

HALF_MAX = 65504.0  # the largest half float
BRIGHT = 8.0  # times the median: a light and not a wall
STRAY = 2  # pixels that touch, at most, of a renderer's fault
AROUND = np.ones((5, 5), np.uint8)  # what counts as a pixel's surroundings


def repaired(image: FloatArray) -> FloatArray:
    """Returns linear RGB [H,W,3] with every value finite; `image` itself where it is so already.

    Stray pixels take the mean of their surroundings. An infinite channel of a bright pixel becomes as bright as the
    pixel's brightest one, and at least 65504 where that is near it: a sun stays white. Infinite pixels beside bright
    ones take the brightest value around, larger discs of them are white. What is not a number is black.
    """
    finite = np.isfinite(image)
    if finite.all():
        return image
    known = np.where(finite, image, 0).astype(np.float32)
    lost: NDArray[np.bool_] = np.asarray(~finite.all(-1))
    infinite = np.isposinf(image)
    threshold = BRIGHT * float(np.median(known[~lost].mean(-1))) if not lost.all() else 0.0
    own = known.max(-1)
    brightest = cv2.dilate(known, AROUND)
    light = infinite.any(-1) & ((own > threshold) | (brightest.max(-1) > threshold))
    # A light: its own colour where a channel is left to tell it, else the colour around it.
    level = np.where(own > HALF_MAX / 4, np.maximum(own, HALF_MAX), own)[..., None]
    filled = np.where((own > threshold)[..., None], level, brightest)
    out = np.where(infinite & light[..., None], filled, known)
    area = _areas(lost)
    disc = infinite.all(-1) & ~light & (area > STRAY)
    out[disc] = HALF_MAX
    partly = infinite.any(-1) & ~infinite.all(-1) & ~light & (area > STRAY)
    out = np.where(infinite & partly[..., None], own[..., None], out)
    stray = lost & ~light & (area <= STRAY)
    return np.where(stray[..., None], _mean_around(known, ~lost), out).astype(np.float32)


def _areas(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Pixels of the connected patch that each pixel of `mask` belongs to, [H,W]; 0 outside."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    sizes = np.asarray(stats[:, cv2.CC_STAT_AREA], np.int32)
    sizes[0] = 0
    return sizes[labels]


def _mean_around(known: FloatArray, good: NDArray[np.bool_]) -> FloatArray:
    """Mean of the good pixels around each one, [H,W,3]; 0 where there are none."""
    weight = cv2.boxFilter(good.astype(np.float32), -1, (5, 5), normalize=False)[..., None]
    total = cv2.boxFilter(known * good[..., None], -1, (5, 5), normalize=False)
    return np.asarray(total / np.maximum(weight, 1e-6), np.float32)
