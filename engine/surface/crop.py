"""The surface network sees a square around the face, at a fixed size, whatever the frame: SurfaceCrop says where.

It is upright and moves with the face. Its side follows the face's width, so that a face always covers the same number
of the network's pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.relighting.grid import WorkingGrid
from lcvd.types import Face, FloatArray

SIDE = 96  # px of the network
REACH_FW = 1.35  # from the middle of the face to a side of the square, in face widths
ABOVE_FW = 0.05  # how far the square's middle lies above the face's


@dataclass(frozen=True, slots=True)
class SurfaceCrop:
    """A square of the frame: its left upper corner and its side, px."""

    x0: float
    y0: float
    side: float

    def picture(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the square of the frame `rgb` [H,W,3] at SIDE px; what lies outside the frame repeats its edge."""
        height, width = rgb.shape[:2]
        left, top = int(np.floor(self.x0)), int(np.floor(self.y0))
        side = max(round(self.side), 2)
        inner = rgb[max(top, 0) : max(min(top + side, height), 0), max(left, 0) : max(min(left + side, width), 0)]
        if inner.size == 0:
            return np.zeros((SIDE, SIDE, 3), np.uint8)
        if inner.shape[:2] != (side, side):
            above, before = max(-top, 0), max(-left, 0)
            inner = cv2.copyMakeBorder(  # type: ignore[assignment]
                inner, above, side - above - inner.shape[0], before, side - before - inner.shape[1],
                cv2.BORDER_REPLICATE,
            )  # fmt: skip
        # Halving has a fast path in OpenCV; area means of the whole way would cost three times as much.
        while inner.shape[0] >= 2.5 * SIDE:
            half = inner.shape[0] // 2
            inner = cv2.resize(inner[: 2 * half, : 2 * half], (half, half), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        return cv2.resize(inner, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]

    def matrix(self, side: int = SIDE) -> FloatArray:
        """Return the affine map [2,3] from the square's pixels, `side` of them a side, to the frame's."""
        step = self.side / side
        return _matrix(step, self.x0, step, self.y0)

    def from_grid(self, field: FloatArray, grid: WorkingGrid) -> FloatArray:
        """Sample a field [rows,cols] or [rows,cols,C], C ≤ 4, of the working grid at the square's pixels."""
        matrix = _matrix(
            self.side / SIDE * grid.cols / grid.width, (self.x0 - grid.x0) * grid.cols / grid.width,
            self.side / SIDE * grid.rows / grid.height, (self.y0 - grid.y0) * grid.rows / grid.height,
        )  # fmt: skip
        return _sampled(field, matrix, (SIDE, SIDE), cv2.BORDER_REPLICATE)

    def to_grid(self, field: FloatArray, grid: WorkingGrid) -> FloatArray:
        """Sample a field [SIDE,SIDE(,C)], C ≤ 4 of the square at the working grid's cells; 0 outside the square."""
        scale = SIDE / self.side
        matrix = _matrix(
            grid.width / grid.cols * scale, (grid.x0 - self.x0) * scale,
            grid.height / grid.rows * scale, (grid.y0 - self.y0) * scale,
        )  # fmt: skip
        return _sampled(field, matrix, (grid.cols, grid.rows), cv2.BORDER_CONSTANT)


def crop_around(face: Face) -> SurfaceCrop:
    """Return the square around a face."""
    oval = face.vertices_px[face.mesh.regions["face_oval"], :2]
    x, y = (oval.min(0) + oval.max(0)) / 2
    reach = REACH_FW * max(face.width_px, 4.0)
    return SurfaceCrop(float(x - reach), float(y - ABOVE_FW * face.width_px - reach), float(2 * reach))


def _matrix(x_step: float, x_start: float, y_step: float, y_start: float) -> FloatArray:
    """Return the affine map from a target pixel to a source pixel; both count from the middle of the first one."""
    return np.array([[x_step, 0, x_start + 0.5 * x_step - 0.5], [0, y_step, y_start + 0.5 * y_step - 0.5]], np.float32)


def _sampled(field: FloatArray, matrix: FloatArray, size: tuple[int, int], border: int) -> FloatArray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.ascontiguousarray(field), matrix, size, flags=flags, borderMode=border)  # type: ignore[return-value]
