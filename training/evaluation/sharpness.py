"""sharpness compares the fine structure of eyes and mouth with the truth's: how much there is, and whether it fits.

Fine structure is luma minus its Gaussian blur. Its root mean square over the truth's tells blur (below 1) from noise
(above); its correlation with the truth's tells detail from noise, which a ratio alone would reward.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.types import Face
from training.evaluation.ssim import LUMA

PARTS = {"eyes": ("left_eye", "right_eye"), "mouth": ("lips",)}  # regions of the mesh
BLUR_FW = 0.03  # σ of the blur, in widths of the face: 2 px of 68
MARGIN = 0.35  # of the part's box, added on each side: lids, lashes and the lips' edge
PLAIN = 0.5  # levels of fine structure in the truth below which nothing is compared


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Holds the comparison of one part; NaN where no frame could be compared."""

    amount: float  # of fine structure, over the truth's: 1 is as sharp
    fit: float  # correlation with the truth's: 1 is the same detail


def sharpness(
    pictures: NDArray[np.uint8],  # [T,S,S,3]
    truth: NDArray[np.uint8],  # [T,S,S,3]
    faces: tuple[Face, ...],  # T
) -> dict[str, Sharpness]:
    """Returns the mean over the frames for each of PARTS. Raises ShapeError where shapes differ."""
    if pictures.shape != truth.shape or len(faces) != len(truth):
        raise ShapeError(f"pictures {pictures.shape}, truth {truth.shape}, {len(faces)} faces")
    found: dict[str, list[tuple[float, float]]] = {part: [] for part in PARTS}
    for picture, wanted, face in zip(pictures, truth, faces, strict=True):
        made, real = (_fine(rgb, BLUR_FW * face.width_px) for rgb in (picture, wanted))
        for part, regions in PARTS.items():
            boxes = [_box(face.vertices_px[face.mesh.regions[name], :2], real.shape) for name in regions]
            x, y = (np.concatenate([fine[box].ravel() for box in boxes]) for fine in (made, real))
            if x.size == 0 or float(y.std()) < PLAIN:
                continue
            power = float(np.sqrt((x @ x) * (y @ y)))
            found[part].append((float(np.sqrt((x @ x) / (y @ y))), float(x @ y) / power if power > 0 else 0.0))
    return {part: Sharpness(*_means(values)) for part, values in found.items()}


def _fine(rgb: NDArray[np.uint8], sigma: float) -> NDArray[np.float64]:
    luma = rgb @ LUMA
    return np.asarray(luma - cv2.GaussianBlur(luma, (0, 0), max(sigma, 0.5)), np.float64)


def _box(points: NDArray[np.floating], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Returns the rows and columns of the points' box with its margin, inside the picture."""
    low, high = points.min(0), points.max(0)
    margin = MARGIN * (high - low).max() / 2
    first = np.maximum(np.floor(low - margin), 0).astype(int)
    last = np.maximum(np.ceil(high + margin), 0).astype(int)
    return slice(int(first[1]), min(int(last[1]), shape[0])), slice(int(first[0]), min(int(last[0]), shape[1]))


def _means(values: list[tuple[float, float]]) -> tuple[float, float]:
    if not values:
        return float("nan"), float("nan")
    amount, fit = np.mean(values, axis=0)
    return float(amount), float(fit)
