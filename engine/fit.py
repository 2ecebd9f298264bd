"""A picture is brought to another size without distortion: cropped to cover it, or letterboxed to fit inside it.

Both return the picture itself where it already has the size. RGB uint8 [H,W,3] in and out; sizes are (height, width).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
PORTRAIT_ANCHOR = 1 / 3  # heads are in the upper half of a tall portrait, so less is cropped above than below


def cover(rgb: Rgb, size: tuple[int, int], anchor: float = 0.5) -> Rgb:
    """Scale `rgb` [H,W,3] until it covers `size` and crop the surplus: [height,width,3].

    Columns are cropped evenly. `anchor` in [0,1] is the share of the surplus rows that is cropped at the top.
    """
    height, width = size
    if rgb.shape[:2] == size:
        return rgb
    scale = min(rgb.shape[0] / height, rgb.shape[1] / width)
    h, w = max(round(height * scale), 1), max(round(width * scale), 1)
    y, x = round((rgb.shape[0] - h) * anchor), (rgb.shape[1] - w) // 2
    return _resized(rgb[y : y + h, x : x + w], height, width)


def letterbox(rgb: Rgb, size: tuple[int, int]) -> Rgb:
    """Scale `rgb` [H,W,3] until it fits inside `size` and centre it on black: [height,width,3]."""
    height, width = size
    if rgb.shape[:2] == size:
        return rgb
    scale = min(height / rgb.shape[0], width / rgb.shape[1])
    h, w = max(round(rgb.shape[0] * scale), 1), max(round(rgb.shape[1] * scale), 1)
    y, x = (height - h) // 2, (width - w) // 2
    out = np.zeros((height, width, 3), np.uint8)
    out[y : y + h, x : x + w] = _resized(rgb, h, w)
    return out


def _resized(rgb: Rgb, height: int, width: int) -> Rgb:
    # INTER_AREA averages when it shrinks, but repeats whole pixels when it enlarges.
    method = cv2.INTER_AREA if rgb.shape[0] >= height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=method), np.uint8)
