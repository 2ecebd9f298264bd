"""ssim is the structural similarity of two pictures inside a mask (Wang et al. 2004, "Image quality assessment", eq.

13).

It uses a Gaussian window of σ = 1.5 on the luma of 8-bit pictures, C1 = (0.01 · 255)², C2 = (0.03 · 255)². The map is
averaged over the mask; windows at its border also contain pixels outside.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError

SIGMA, WINDOW = 1.5, (11, 11)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
LUMA = np.array([0.299, 0.587, 0.114])  # of encoded values, as SSIM is used; not lcvd.lighting.colour's linear one


def ssim(
    a: NDArray[np.uint8],  # [H,W,3]
    b: NDArray[np.uint8],  # [H,W,3]
    mask: NDArray[np.bool_],  # [H,W]
) -> float:
    """Returns at most 1, for equal pictures. Raises ShapeError where shapes differ or the mask is empty."""
    if a.shape != b.shape or a.shape[:2] != mask.shape or not mask.any():
        raise ShapeError(f"pictures {a.shape} and {b.shape}, mask {mask.shape} of {int(mask.sum())} pixels")
    x, y = a @ LUMA, b @ LUMA
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + C1) * (2 * cov + C2)
    return float((top / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2)))[mask].mean())


def _blur(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(picture, WINDOW, SIGMA), np.float64)
