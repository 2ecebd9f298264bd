"""Finds faces in a whole frame: rgb → boxes with eye positions, by BlazeFace (Bazarevsky et al. 2019).

Short range (128 px, faces from about a fifth of the frame) is tried first; full range (192 px) when it finds none.
Both answer on a grid of anchors; overlapping answers are averaged with their scores as weights (the paper's
"blending", section 5) instead of keeping the best one, which steadies the box.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcvd.tracking.crop import Roi, shrink
from lcvd.tracking.litert import LiteRtNetwork
from lcvd.types import FloatArray

MIN_SCORE = 0.5
SAME_FACE_IOU = 0.3  # MediaPipe's min_suppression_threshold


@dataclass(frozen=True, slots=True)
class Detection:
    """One face found. Pixels of the frame, y down; `eyes_px` is [2,2]: the one at picture left first."""

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    eyes_px: FloatArray
    score: float

    def roi(self, margin: float = 1.5) -> Roi:
        """Return the landmark network's square: eyes level, box × margin."""
        dx, dy = self.eyes_px[1] - self.eyes_px[0]
        return Roi(self.x_px, self.y_px, margin * max(self.width_px, self.height_px), float(np.arctan2(dy, dx)))


class BlazeFace:
    """One BlazeFace network. `strides` lists (stride in px, anchors per cell) of its grids."""

    def __init__(self, path: Path, strides: tuple[tuple[int, int], ...]) -> None:
        self._net = LiteRtNetwork(path)
        self._size = self._net.width
        self._anchors = np.concatenate([_grid(self._size // s, s, n) for s, n in strides])

    @classmethod
    def short_range(cls, path: Path) -> "BlazeFace":
        return cls(path, ((8, 2), (16, 6)))  # 896 anchors

    @classmethod
    def full_range(cls, path: Path) -> "BlazeFace":
        return cls(path, ((4, 1),))  # 2304 anchors

    def __call__(self, rgb: NDArray[np.uint8]) -> list[Detection]:
        """Faces in rgb uint8 [H,W,3], best score first."""
        height, width = rgb.shape[:2]
        scale = self._size / max(height, width)
        inner_w, inner_h = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (self._size - inner_w) // 2, (self._size - inner_h) // 2
        boxed = np.zeros((self._size, self._size, 3), np.uint8)
        boxed[top : top + inner_h, left : left + inner_w] = shrink(rgb, inner_w, inner_h)
        regressors, logits = self._net(boxed, 1 / 127.5, -1.0)
        scores = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -50, 50)))
        keep = np.flatnonzero(scores >= MIN_SCORE)
        if keep.size == 0:
            return []
        rows, scores = regressors[0, keep].astype(np.float64), scores[keep]
        # rows: centre x y, width height, then 6 key points x y; offsets in network pixels from the anchor.
        rows[:, 0:2] += self._anchors[keep]
        rows[:, 4:] += np.tile(self._anchors[keep], 6)
        rows[:, 0::2] -= left
        rows[:, 1::2] -= top
        rows[:, 2] += left
        rows[:, 3] += top
        rows /= (inner_w / width + inner_h / height) / 2
        return [_detection(row, score) for row, score in blend_overlapping(rows, scores)]


def _grid(cells: int, stride: int, per_cell: int) -> FloatArray:
    """[cells²·per_cell, 2] anchor centres in network pixels, row by row."""
    ys, xs = np.mgrid[0:cells, 0:cells]
    centres = (np.stack([xs, ys], -1).reshape(-1, 2) + 0.5) * stride
    return np.repeat(centres, per_cell, 0).astype(np.float32)


def _detection(row: NDArray[np.float64], score: float) -> Detection:
    eyes = row[4:8].reshape(2, 2)
    level: FloatArray = eyes[np.argsort(eyes[:, 0])].astype(np.float32)
    return Detection(float(row[0]), float(row[1]), float(row[2]), float(row[3]), level, float(score))


def blend_overlapping(
    rows: NDArray[np.float64], scores: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], float]]:
    """Non-maximum suppression that averages. rows [N,≥4] start with centre x, y, width, height."""
    order = list(np.argsort(-scores))
    out = []
    while order:
        best = order[0]
        group = [i for i in order if iou(rows[best], rows[i]) >= SAME_FACE_IOU] or [best]
        out.append((np.average(rows[group], axis=0, weights=scores[group]), float(scores[best])))
        order = [i for i in order if i not in group]
    return out


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the intersection over union of two boxes (centre x, y, width, height)."""
    low = np.maximum(a[:2] - a[2:4] / 2, b[:2] - b[2:4] / 2)
    high = np.minimum(a[:2] + a[2:4] / 2, b[:2] + b[2:4] / 2)
    inter = float(np.prod(np.maximum(high - low, 0)))
    union = float(a[2] * a[3] + b[2] * b[3]) - inter
    return inter / union if union > 0 else 0.0
