"""Compares the rotation of the result's head with the driver's: the angle between the two, in degrees.

Rotations are our tracker's (`pose`), or DECA's (`POSE`, `lcvd.metrics.deca`). Per frame the geodesic distance on
SO(3) (Huynh 2009, eq. 23): acos((tr(R₁ R₂ᵀ) − 1)/2). `relative_deg` first takes each clip's own first frame out:
relative motion alignment (LCVD supplement §8) keeps the portrait's own pose, so only the motion can agree.
"""

import math

import numpy as np
from numpy.typing import NDArray

from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Request, RunningMean, Score

Rotation = NDArray[np.floating]  # [3,3] viewer_from_canonical


def angle_deg(a: Rotation, b: Rotation) -> float:
    """Return the angle of the rotation that turns one into the other, in [0, 180]."""
    turn = np.asarray(a, np.float64) @ np.asarray(b, np.float64).T
    # atan2 keeps its precision near 0, where acos of the trace has none.
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return math.degrees(math.atan2(float(np.linalg.norm(axis)), float(np.trace(turn)) - 1))


class RotationError:
    """Accumulates the mean angle between pairs of rotations, absolute and relative to the first pair."""

    def __init__(self) -> None:
        self._absolute, self._relative = RunningMean(), RunningMean()
        self._first: tuple[Rotation, Rotation] | None = None

    def add(self, result: Rotation, driver: Rotation) -> None:
        self._absolute.add(angle_deg(result, driver))
        if self._first is None:
            self._first = result, driver
        else:
            self._relative.add(angle_deg(result @ self._first[0].T, driver @ self._first[1].T))

    def score(self) -> Score | Missing:
        if not self._absolute.count:
            return Missing("no frame shows a face in both clips", "give clips with a face in view")
        details = {"std": self._absolute.std, "worst": self._absolute.worst}
        if self._relative.count:
            details["relative_deg"] = self._relative.mean
        return Score(self._absolute.mean, self._absolute.count, details)


class Pose:
    """The metric `pose`: it averages the angle between the tracker's head rotations of result and driver."""

    info = MetricInfo(
        name="pose",
        column="",
        better="lower",
        unit="°",
        source="ours; after POSE (LCVD Table 3) with lcvd.tracking's rotation; angle on SO(3), Huynh 2009 eq. 23",
        needs="",
    )

    def __init__(self, request: Request) -> None:
        self._error = RotationError()

    def available(self) -> Missing | None:
        return None

    def load(self) -> None:
        pass

    def update(self, pair: FramePair) -> None:
        a, b = pair.result_face, pair.driver_face
        if a is not None and b is not None and not a.held and not b.held:
            self._error.add(a.rotation, b.rotation)

    def result(self) -> Score | Missing:
        return self._error.score()
