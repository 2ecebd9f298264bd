"""The geometry a container asks for: square pixels and the display matrix that turns or mirrors the stored picture.

A display matrix (ISO/IEC 14496-12 §8.3.2, as libav stores it) is a b u / c d v / x y w in 16.16 fixed point: the stored
point (p,q), q down, is shown at (ap + cq + x, bp + dq + y). Eight of them move pixels to pixels: four quarter turns,
each with and without a mirror. Any other matrix is shown as the nearest of the eight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
MAX_SIDE_PX = 8192
# Broadcast and anamorphic film lie between 1:2 and 4:1; beyond this a ratio is damage and not a shape.
MAX_RATIO = 10


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways a stored picture may lie: rows and columns are swapped first, then the flips are done."""

    swaps: bool = False
    flips_x: bool = False
    flips_y: bool = False
    off_deg: float = 0.0  # angle between what the container asked for and this

    def upright(self, rgb: Rgb) -> Rgb:
        """Return the picture [H,W,3] as it is to be shown, contiguous."""
        if self.swaps:
            rgb = rgb.swapaxes(0, 1)
        return np.ascontiguousarray(rgb[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1])


def orientation(matrix: Sequence[int]) -> Orientation:
    """Return the orientation nearest to the nine numbers of a display matrix; a matrix of zeros asks for nothing."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    straight, swapped = abs(a) + abs(d), abs(b) + abs(c)
    if straight == swapped == 0:
        return Orientation()
    off_deg = math.degrees(math.atan2(min(straight, swapped), max(straight, swapped)))
    if straight >= swapped:
        return Orientation(False, a < 0, d < 0, off_deg)
    return Orientation(True, c < 0, b < 0, off_deg)


def square_pixels(rgb: Rgb, pixel_aspect: Fraction | None) -> Rgb:
    """Stretch `rgb` [H,W,3], whose pixels are `pixel_aspect` (width over height) wide, until its pixels are square.

    The shorter side of a pixel is enlarged, so nothing is lost; a side that would pass MAX_SIDE_PX shrinks both. None,
    zero and ratios beyond 10:1 count as square.
    """
    if not pixel_aspect or pixel_aspect == 1 or not 1 / MAX_RATIO <= abs(pixel_aspect) <= MAX_RATIO:
        return rgb
    height, width = rgb.shape[0], rgb.shape[1]
    aspect = abs(float(pixel_aspect))
    wide, high = (width * aspect, float(height)) if aspect > 1 else (float(width), height / aspect)
    shrink = min(MAX_SIDE_PX / max(wide, high), 1.0)
    size = max(round(wide * shrink), 1), max(round(high * shrink), 1)
    method = cv2.INTER_CUBIC if shrink == 1.0 else cv2.INTER_AREA
    return np.asarray(cv2.resize(rgb, size, interpolation=method), np.uint8)
