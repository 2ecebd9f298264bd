"""Follows the faces beside the one that a tracker follows, so that they can be lit alike.

Each has a landmark square of its own and a solver (lcvd.tracking.solver), and keeps its number while it is followed.
Finding them is the tracker's: its detector looks for larger faces anyway and hands over what else it saw.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcvd.tracking.crop import Roi
from lcvd.tracking.detector import Detection
from lcvd.tracking.smooth import OneEuroSettings
from lcvd.tracking.solver import FaceSolver
from lcvd.types import Face, FloatArray

MOST = 3  # faces beside the main one; each costs a run of the landmark network a frame
NEAR = 0.6  # of a face's width: detections closer to a followed face are that face
REFINEMENTS = 2  # landmark passes on a fresh detection

# (rgb, square) -> (points [468,3], presence, the next square), or None where there is no face
Landmarks = Callable[[NDArray[np.uint8], Roi], tuple[FloatArray, float, Roi] | None]


@dataclass(slots=True)
class _Followed:
    roi: Roi
    solver: FaceSolver


class OtherFaces:
    """The followed faces beside the main one. One thread at a time."""

    def __init__(self, landmarks: Landmarks, smoothing: OneEuroSettings | None) -> None:
        self._landmarks, self._smoothing = landmarks, smoothing
        self._followed: dict[int, _Followed] = {}
        self._next = 0

    def reset(self) -> None:
        """Follow nobody."""
        self._followed = {}

    def adopt(self, rgb: NDArray[np.uint8], found: Iterable[Detection], main: FloatArray) -> None:
        """Begin to follow those of `found` that are neither the `main` face's points [V,≥2] nor followed already."""
        known = [main, *(each.solver.raw for each in self._followed.values() if each.solver.raw is not None)]
        for detection in sorted(found, key=lambda d: d.width_px, reverse=True):
            if len(self._followed) >= MOST or any(is_near(detection, points) for points in known):
                continue
            roi = detection.roi()
            for _ in range(REFINEMENTS):
                seen = self._landmarks(rgb, roi)
                if seen is None:
                    break
                roi = seen[2]
            else:
                self._followed[self._next] = _Followed(roi, FaceSolver(self._smoothing))
                self._next += 1

    def track(self, rgb: NDArray[np.uint8], t_s: float, main: FloatArray) -> Mapping[int, Face]:
        """Return the faces of rgb [H,W,3] at `t_s` by their numbers; one that came upon another is dropped."""
        faces: dict[int, Face] = {}
        taken = [main]
        for number, each in list(self._followed.items()):
            seen = self._landmarks(rgb, each.roi)
            if seen is None or any(_coincide(seen[0], points) for points in taken):
                del self._followed[number]
                continue
            points, presence, each.roi = seen
            taken.append(points)
            faces[number] = each.solver.solve(points, presence, t_s)
        return faces


def is_near(detection: Detection, points: FloatArray) -> bool:
    """Return True where `detection` shows the face of `points` [V,≥2] px."""
    x, y = points[:, :2].mean(0)
    return bool(np.hypot(detection.x_px - x, detection.y_px - y) < NEAR * np.ptp(points[:, 0]))


def _coincide(points: FloatArray, other: FloatArray) -> bool:
    apart = np.hypot(*(points[:, :2].mean(0) - other[:, :2].mean(0)))
    return bool(apart < NEAR * max(np.ptp(points[:, 0]), np.ptp(other[:, 0])))
