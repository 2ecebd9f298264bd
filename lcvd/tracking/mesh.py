"""The default Tracker: frames and their times become a Face, by MediaPipe's models on LiteRT.

rgb uint8 [H,W,3] → (lost: detector → square) → landmark network on the square → next square from the points →
One-Euro → pose, identity, expression. Seconds, never frame counts, drive everything in time. It follows one face: the
largest, and stays with it until another has been clearly larger for a while. Knows nothing of light.
"""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcvd.geometry import face_mesh
from lcvd.tracking.crop import Roi, require_rgb, roi_around
from lcvd.tracking.detector import BlazeFace, Detection
from lcvd.tracking.landmarks import LandmarkNetwork
from lcvd.tracking.models import model_path
from lcvd.tracking.pose import IdentityAverage, rigid_weights, solve_pose
from lcvd.tracking.smooth import OneEuro, OneEuroSettings
from lcvd.types import Face, FloatArray

MIN_PRESENCE = 0.5
HOLD_S = 0.3  # a loss this short is bridged with the last face
FORGET_S = 2.0  # after this long without a face, whoever comes next is a new person
FULL_RANGE_EVERY_S = 0.25  # the slower detector, while nothing is found
RIVAL_EVERY_S = 0.5  # how often to look for a larger face
RIVAL_RATIO = 1.4  # it must be this much wider …
RIVAL_LOOKS = 3  # … in this many looks running
JUMP_WIDTHS = 0.5  # a face that moved further than this since the last frame is not smoothed with its past
MIN_FACE_PX = 12.0  # below this the network invents a face
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners


class MeshTracker:
    """Follows one face. Not for two threads at once.

    `directory`, `cache_dir` and `download` are those of `lcvd.tracking.models.model_path`; `smoothing=None` turns the
    filter off. Raises ModelUnavailable.
    """

    def __init__(
        self,
        *,
        directory: Path | None = None,
        cache_dir: Path | None = None,
        download: bool = True,
        smoothing: OneEuroSettings | None = OneEuroSettings(),  # noqa: B008 (frozen)
    ) -> None:
        find = partial(model_path, directory=directory, cache_dir=cache_dir, download=download)
        self._near = BlazeFace.short_range(find("face_detection_short_range"))
        self._far = BlazeFace.full_range(find("face_detection_full_range"))
        self._network = LandmarkNetwork(find("face_landmark"))
        self._mesh = face_mesh()
        self._weights = rigid_weights(len(self._mesh.neutral))
        self._filter = OneEuro(smoothing) if smoothing is not None else None
        self._identity = IdentityAverage(self._mesh)
        self.reset()

    def reset(self) -> None:
        """Forget the face, the person and the clock."""
        self._roi: Roi | None = None
        self._raw: FloatArray | None = None
        self._face: Face | None = None
        self._seen_s = -np.inf
        self._far_s = -np.inf
        self._rival_s = -np.inf
        self._rival_looks = 0
        self._size: tuple[int, int] | None = None
        self._identity.reset()
        if self._filter is not None:
            self._filter.reset()

    def close(self) -> None:
        """Forget everything; the networks go with the object."""
        self.reset()

    def track(self, rgb: NDArray[np.uint8], t_s: float) -> Face | None:
        """The face in rgb uint8 [H,W,3] at t_s, or None. Raises ShapeError on anything but a picture."""
        require_rgb(rgb)
        if rgb.shape[:2] != self._size or t_s < self._seen_s - HOLD_S:
            self.reset()
            self._size = rgb.shape[:2]
        if t_s - self._seen_s > FORGET_S:
            self._identity.reset()
        self._look_for_rival(rgb, t_s)
        found = self._follow(rgb)
        if found is None:
            found = self._search(rgb, t_s)
        if found is None:
            return self._hold(t_s)
        points, score = found
        return self._describe(points, score, t_s)

    def _follow(self, rgb: NDArray[np.uint8]) -> tuple[FloatArray, float] | None:
        if self._roi is None:
            return None
        points, presence = self._network(rgb, self._roi)
        self._roi = _next_roi(points)
        if presence < MIN_PRESENCE or not _plausible(points, self._roi, rgb.shape):
            self._roi = None
            return None
        return points, presence

    def _search(self, rgb: NDArray[np.uint8], t_s: float) -> tuple[FloatArray, float] | None:
        for detection in self._candidates(self._detect(rgb, t_s)):
            self._roi = detection.roi()
            # The detector's box is rough: let the network correct its own square before it is believed.
            found = None
            for _ in range(3):
                found = self._follow(rgb)
                if found is None:
                    break
            if found is not None:
                return found
        self._roi = None
        return None

    def _detect(self, rgb: NDArray[np.uint8], t_s: float) -> list[Detection]:
        found = self._near(rgb)
        if not found and not t_s - self._far_s < FULL_RANGE_EVERY_S:
            self._far_s = t_s
            found = self._far(rgb)
        return [d for d in found if d.width_px >= MIN_FACE_PX]

    def _candidates(self, found: list[Detection]) -> list[Detection]:
        """Widest first; the face just lost counts for more, so that two equal faces do not take turns."""

        def rank(d: Detection) -> float:
            return d.width_px * (RIVAL_RATIO if self._is_current(d) else 1.0)

        return sorted(found, key=rank, reverse=True)[:3]

    def _is_current(self, d: Detection) -> bool:
        if self._raw is None:
            return False
        x, y = self._raw[:, :2].mean(0)
        return bool(np.hypot(d.x_px - x, d.y_px - y) < 0.6 * np.ptp(self._raw[:, 0]))

    def _look_for_rival(self, rgb: NDArray[np.uint8], t_s: float) -> None:
        if self._roi is None or self._raw is None or t_s - self._rival_s < RIVAL_EVERY_S:
            return
        self._rival_s = t_s
        found = self._near(rgb)
        mine = [d for d in found if self._is_current(d)]
        # The same ruler for both: the detector's box, else the mesh.
        width = mine[0].width_px if mine else float(np.ptp(self._raw[:, 0]))
        rivals = [d for d in found if not self._is_current(d) and d.width_px > RIVAL_RATIO * width]
        self._rival_looks = self._rival_looks + 1 if rivals else 0
        if self._rival_looks >= RIVAL_LOOKS:
            self._rival_looks = 0
            self._roi = max(rivals, key=lambda d: d.width_px).roi()
            self._identity.reset()

    def _hold(self, t_s: float) -> Face | None:
        if self._face is None or t_s - self._seen_s > HOLD_S:
            self._face, self._raw = None, None
            return None
        return dataclasses.replace(self._face, t_s=t_s, held=True)

    def _describe(self, points: FloatArray, score: float, t_s: float) -> Face:
        width = float(np.ptp(points[:, 0]))
        if self._filter is not None:
            if self._raw is None or np.abs((points - self._raw)[:, :2].mean(0)).max() > JUMP_WIDTHS * width:
                self._filter.reset()
            smooth = self._filter(points, t_s, width)
        else:
            smooth = points
        self._raw = points
        pose = solve_pose(smooth, self._identity.shape, self._weights)
        identity = self._identity.update(pose, t_s)
        self._seen_s = t_s
        self._face = Face(
            t_s=t_s,
            mesh=self._mesh,
            vertices_px=smooth,
            rotation=pose.rotation,
            translation_px=pose.translation_px,
            scale_px_per_cm=pose.scale_px_per_cm,
            identity=identity,
            expression=pose.observed - identity,
            score=score,
        )
        return self._face


def _next_roi(points: FloatArray) -> Roi:
    dx, dy = points[LEFT_EYE, :2] - points[RIGHT_EYE, :2]
    return roi_around(points, float(np.arctan2(dy, dx)))


def _plausible(points: FloatArray, roi: Roi, shape: tuple[int, ...]) -> bool:
    """False for a face that shrank to nothing, blew up, or left the frame."""
    if not np.isfinite(points).all() or roi.size_px < MIN_FACE_PX or roi.size_px > 4 * max(shape[:2]):
        return False
    inside = (points[:, 0] > 0) & (points[:, 0] < shape[1]) & (points[:, 1] > 0) & (points[:, 1] < shape[0])
    return bool(inside.mean() > 0.3)
