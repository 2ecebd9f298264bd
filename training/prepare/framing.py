"""This module finds the square that a clip is cropped to: head and shoulders, fixed for the whole clip.

It crops as engine.reference does. Faces in pixels of the frame give one Roi, and are converted to pixels of the crop
without tracking them again.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lcvd.tracking.crop import Roi
from lcvd.types import Face

FACES_HIGH = 2.6  # side of the square in heights of the face's mesh; a test holds it equal to engine.reference's
DOWN = 0.1  # the square's centre lies this part of its side below the face's, to show the shoulders
MAX_YAW_DEG = 60.0  # beyond it the tracker does not see the far half of the mesh (docs/tracking.md)
MIN_INSIDE = 0.98  # of the mesh's vertices inside the picture


def unusable(face: Face | None, size: tuple[int, int], min_face_px: float) -> str | None:
    """Returns why `face` in a picture of `size` (height, width) cannot be trained on, or None where it can."""
    if face is None or face.held:
        return "no face"
    if face.width_px < min_face_px:
        return "face too small"
    facing = face.rotation[:, 2]  # where the nose points: x right, z to the viewer
    if abs(np.degrees(np.arctan2(facing[0], facing[2]))) > MAX_YAW_DEG:
        return "face turned away"
    if _share_inside(face, 0, 0, size[1], size[0]) < MIN_INSIDE:
        return "face cut by the frame"
    return None


def square_around(faces: Sequence[Face], size: tuple[int, int]) -> Roi | None:
    """Returns the square for all of `faces` in a picture of `size` (height, width).

    None means that one of them leaves it.
    """
    height, width = size
    lows = np.array([face.vertices_px[:, :2].min(0) for face in faces])
    highs = np.array([face.vertices_px[:, :2].max(0) for face in faces])
    side = min(FACES_HIGH * float(np.median(highs[:, 1] - lows[:, 1])), float(min(height, width)))
    x, y = (float(v) for v in (lows.min(0) + highs.max(0)) / 2)
    half = side / 2
    roi = Roi(min(max(x, half), width - half), min(max(y + DOWN * side, half), height - half), side)
    left, top = roi.x_px - half, roi.y_px - half
    if any(_share_inside(face, left, top, left + side, top + side) < MIN_INSIDE for face in faces):
        return None
    return roi


def face_in_square(face: Face, roi: Roi, size: int) -> Face:
    """Returns `face` in pixels of the upright square `roi` resampled to size×size."""
    zoom = size / roi.size_px
    corner = np.array([roi.x_px - roi.size_px / 2, roi.y_px - roi.size_px / 2, 0], np.float32)
    return replace(
        face,
        vertices_px=((face.vertices_px - corner) * zoom).astype(np.float32),
        translation_px=((face.translation_px - corner) * zoom).astype(np.float32),
        scale_px_per_cm=face.scale_px_per_cm * zoom,
    )


def _share_inside(face: Face, left: float, top: float, right: float, bottom: float) -> float:
    x, y = face.vertices_px[:, 0], face.vertices_px[:, 1]
    return float(((x >= left) & (x <= right) & (y >= top) & (y <= bottom)).mean())
