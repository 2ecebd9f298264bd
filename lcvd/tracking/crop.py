"""Frame ↔ face crop: an upright square of the frame at any angle, and its way back.

`Roi` is the square; matrices read `dst_from_src` and act on pixel coordinates (y down), where pixel i covers [i, i+1):
the centre of the first pixel is 0.5. Borders are replicated, so a face at the edge of the frame still crops.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.types import FloatArray


@dataclass(frozen=True, slots=True)
class Roi:
    """A square in the frame. `angle_rad` turns the crop's x axis, positive clockwise on the screen (y down)."""

    x_px: float
    y_px: float
    size_px: float
    angle_rad: float = 0.0


def roi_around(points_px: FloatArray, angle_rad: float, margin: float = 1.5) -> Roi:
    """Square around points [N,≥2] in axes turned by `angle_rad`; side = longer side of their box · margin."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    along = points_px[:, 0] * c + points_px[:, 1] * s
    down = points_px[:, 1] * c - points_px[:, 0] * s
    mid_along = 0.5 * (along.min() + along.max())
    mid_down = 0.5 * (down.min() + down.max())
    size = margin * max(np.ptp(along), np.ptp(down))
    return Roi(float(mid_along * c - mid_down * s), float(mid_along * s + mid_down * c), float(size), float(angle_rad))


def frame_from_crop(roi: Roi, size: int) -> FloatArray:
    """Return the affine [2,3] from pixels of a `size`² crop to frame pixels."""
    scale = roi.size_px / size
    c, s = np.cos(roi.angle_rad) * scale, np.sin(roi.angle_rad) * scale
    half = size / 2
    return np.array(
        [[c, -s, roi.x_px - (c - s) * half], [s, c, roi.y_px - (s + c) * half]],
        np.float32,
    )


def crop(rgb: NDArray[np.uint8], roi: Roi, size: int) -> NDArray[np.uint8]:
    """Resample the square `roi` of rgb [H,W,3] to [size,size,3]; outside the frame the border repeats."""
    matrix = frame_from_crop(roi, size).astype(np.float64)
    # A big face shrinks by more than bilinear sampling can follow: halve the part in question first (box filter),
    # else the network sees aliases and the mesh trembles.
    times = int(roi.size_px / size)
    if times >= 2:
        turned = abs(np.cos(roi.angle_rad)) + abs(np.sin(roi.angle_rad))
        reach = 0.5 * roi.size_px * turned + 2 * times  # half the turned square's upright box, and a little
        height, width = rgb.shape[:2]
        x0, x1 = (int(np.clip(v, 0, width)) for v in (roi.x_px - reach, roi.x_px + reach))
        y0, y1 = (int(np.clip(v, 0, height)) for v in (roi.y_px - reach, roi.y_px + reach))
        x1, y1 = x0 + (x1 - x0) // times * times, y0 + (y1 - y0) // times * times
        if x1 > x0 and y1 > y0:
            part = rgb[y0:y1, x0:x1]
            rgb = cv2.resize(part, None, fx=1 / times, fy=1 / times, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            matrix[:, 2] -= (x0, y0)
            matrix /= times
    # cv2 counts from pixel centres; we count from corners: shift by half a pixel on both sides.
    matrix[:, 2] += matrix[:, :2].sum(1) * 0.5 - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(rgb, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def shrink(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Shrink rgb [H,W,3] to [height,width,3] without the aliases of a single bilinear step.

    Bilinear to a whole multiple, then box averaging: within 2 grey levels of area averaging of the full frame, and
    ten times faster at 1080p (0.6 against 6.7 ms to 256×144), because cv2 only vectorises whole factors.
    """
    ratio = max(rgb.shape[1] / width, rgb.shape[0] / height)
    if ratio > 1.5:
        times = 2 if ratio <= 5 else 3
        rgb = cv2.resize(rgb, (times * width, times * height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def paste(frame: NDArray[np.uint8], patch: NDArray[np.uint8], roi: Roi, alpha: FloatArray) -> NDArray[np.uint8]:
    """Return a copy of `frame` with `patch` [S,S,3] blended over `roi`, weighted by `alpha` [S,S] in [0,1]."""
    if patch.shape[:2] != alpha.shape or patch.shape[0] != patch.shape[1]:
        raise ShapeError(f"patch {patch.shape} and alpha {alpha.shape}: expected [S,S,3] and [S,S]")
    matrix = frame_from_crop(roi, patch.shape[0]).astype(np.float64)
    matrix[:, 2] += matrix[:, :2].sum(1) * 0.5 - 0.5
    size = (frame.shape[1], frame.shape[0])
    moved = cv2.warpAffine(patch, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(alpha.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR)[..., None]
    mixed = frame + (moved.astype(np.float32) - frame) * weight
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def require_rgb(rgb: NDArray[np.uint8]) -> None:
    """Raise ShapeError unless `rgb` is a non-empty uint8 [H,W,3]."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ShapeError(
            f"rgb: expected uint8 [H,W,3] with H, W ≥ 1, got {rgb.dtype} {list(rgb.shape)}",
            hint="pass a decoded RGB frame",
        )
