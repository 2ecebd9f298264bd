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
REACH = 2  # pixels each way that count as a pixel's surroundings
ROWS = 256  # repaired at a time


def repaired(image: FloatArray) -> FloatArray:
    """Returns linear RGB [H,W,3] with every value finite; `image` itself where it is so already.

    Stray pixels take the mean of their surroundings. An infinite channel of a bright pixel becomes as bright as the
    pixel's brightest one, and at least 65504 where that is near it: a sun stays white. Infinite pixels beside bright
    ones take the brightest value around, larger discs of them are white. What is not a number is black.
    """
    lost: NDArray[np.bool_] = np.asarray(~np.isfinite(image).all(-1))
    if not lost.any():
        return image
    areas = _areas(lost)
    few = image[:: max(1, len(image) // ROWS)]  # enough to tell what is usual
    usual = few[np.isfinite(few).all(-1)]
    threshold = BRIGHT * float(np.median(usual.mean(-1))) if len(usual) else 0.0
    out = np.empty_like(image)
    for top in range(0, len(image), ROWS):  # a panorama may have 40 megapixels
        first, stop = max(top - REACH, 0), top + ROWS + REACH
        band = _band(image[first:stop], lost[first:stop], areas[first:stop], threshold)
        out[top : top + ROWS] = band[top - first : top - first + ROWS]
    return out


def _band(
    image: FloatArray,  # [h,W,3] with the rows that its outermost ones are judged by
    lost: NDArray[np.bool_],  # [h,W] no finite colour
    areas: NDArray[np.int32],  # [h,W] size of the patch of lost pixels
    threshold: float,  # from which a value is bright
) -> FloatArray:
    """Repairs some rows."""
    known = np.where(np.isfinite(image), image, 0).astype(np.float32)
    infinite = np.isposinf(image)
    own = known.max(-1)
    brightest = cv2.dilate(known, np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8))
    light = infinite.any(-1) & ((own > threshold) | (brightest.max(-1) > threshold))
    # A light: its own colour where a channel is left to tell it, else the colour around it.
    level = np.where(own > HALF_MAX / 4, np.maximum(own, HALF_MAX), own)[..., None]
    filled = np.where((own > threshold)[..., None], level, brightest)
    out = np.where(infinite & light[..., None], filled, known)
    dull = infinite & (~light & (areas > STRAY))[..., None]
    out = np.where(dull, np.where(infinite.all(-1), HALF_MAX, own)[..., None], out)
    stray = lost & ~light & (areas <= STRAY)
    return np.where(stray[..., None], _mean_around(known, ~lost), out).astype(np.float32)


def _areas(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Pixels of the connected patch that each pixel of `mask` belongs to, [H,W]; 0 outside."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    sizes = np.asarray(stats[:, cv2.CC_STAT_AREA], np.int32)
    sizes[0] = 0
    return sizes[labels]


def _mean_around(known: FloatArray, good: NDArray[np.bool_]) -> FloatArray:
    """Mean of the good pixels around each one, [H,W,3]; 0 where there are none."""
    side = (2 * REACH + 1, 2 * REACH + 1)
    weight = cv2.boxFilter(good.astype(np.float32), -1, side, normalize=False)[..., None]
    total = cv2.boxFilter(known * good[..., None], -1, side, normalize=False)
    return np.asarray(total / np.maximum(weight, 1e-6), np.float32)
