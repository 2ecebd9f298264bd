"""Turns raw landmarks into a Face: the part of tracking that all landmark sources share.

points [468,3] at t_s → One-Euro → pose, identity, expression → Face; and, for a short loss, the last Face held.
"""

import dataclasses

import numpy as np

from lcvd.face.geometry import face_mesh
from lcvd.tracking.pose import IdentityAverage, rigid_weights, solve_pose
from lcvd.tracking.smooth import OneEuro, OneEuroSettings
from lcvd.types import Face, FloatArray

HOLD_S = 0.3  # a loss this short is bridged with the last face
FORGET_S = 2.0  # after this long without a face, whoever comes next is a new person
JUMP_WIDTHS = 0.5  # a face that moved further than this since the last frame is not smoothed with its past


class FaceSolver:
    """Follows one person's landmarks through time. `smoothing=None` turns the filter off."""

    def __init__(self, smoothing: OneEuroSettings | None) -> None:
        self._mesh = face_mesh()
        self._weights = rigid_weights(len(self._mesh.neutral))
        self._filter = OneEuro(smoothing) if smoothing is not None else None
        self._identity = IdentityAverage(self._mesh)
        self.reset()

    def reset(self) -> None:
        """Forget the person and the clock."""
        self.raw: FloatArray | None = None  # the last points as they came; None when there is no face
        self._face: Face | None = None
        self.seen_s = -np.inf  # when
        self.new_person()

    def new_person(self) -> None:
        """Start a new person with the next points."""
        self._identity.reset()
        if self._filter is not None:
            self._filter.reset()

    def solve(self, points: FloatArray, score: float, t_s: float) -> Face:
        """Return the Face of points [468,3] (x right, y down, z to the viewer, pixels) seen at t_s."""
        if t_s - self.seen_s > FORGET_S:
            self.new_person()
        smooth = points
        if self._filter is not None:
            width = float(np.ptp(points[:, 0]))
            if self.raw is None or np.hypot(*(points - self.raw)[:, :2].mean(0)) > JUMP_WIDTHS * width:
                self._filter.reset()
            smooth = self._filter(points, t_s, width)
        self.raw, self.seen_s = points, t_s
        pose = solve_pose(smooth, self._identity.shape, self._weights)
        identity = self._identity.update(pose, t_s)
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

    def hold(self, t_s: float) -> Face | None:
        """Return the last Face, marked held, while the loss is short; then None."""
        if self._face is None or not 0 <= t_s - self.seen_s <= HOLD_S:
            self._face, self.raw = None, None
            return None
        return dataclasses.replace(self._face, t_s=t_s, held=True)
