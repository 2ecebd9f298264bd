"""Compares the movement of the result's face with the driver's: RMS distance of expressions, mm of the canonical face.

An expression is the tracker's displacement of every vertex from the person's own neutral shape, without pose and size,
so two people can be compared. `relative_mm` takes each clip's first frame out, as in `lcvd.metrics.pose`.
"""

import numpy as np

from lcvd.errors import ShapeError
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Request, RunningMean, Score
from lcvd.types import FloatArray

MM_PER_CM = 10.0


def rms_mm(a: FloatArray, b: FloatArray) -> float:
    """Return the RMS over vertices of the distance of two displacements [V,3] given in cm. Raises ShapeError."""
    if a.shape != b.shape or a.ndim != 2:
        raise ShapeError(f"expressions {list(a.shape)} and {list(b.shape)}", "both must be of one mesh, [V,3]")
    return MM_PER_CM * float(np.sqrt(np.square(a - b).sum(1).mean()))


class Expression:
    """The metric `expression`: it averages `rms_mm` of result and driver over the frames."""

    info = MetricInfo(
        name="expression",
        column="",
        better="lower",
        unit="mm",
        source="ours; displacement from the neutral shape by lcvd.tracking",
        needs="",
    )

    def __init__(self, request: Request) -> None:
        self._absolute, self._relative = RunningMean(), RunningMean()
        self._first: tuple[FloatArray, FloatArray] | None = None

    def available(self) -> Missing | None:
        return None

    def load(self) -> None:
        pass

    def update(self, pair: FramePair) -> None:
        if pair.result_face is None or pair.driver_face is None or pair.result_face.held or pair.driver_face.held:
            return
        a, b = pair.result_face.expression, pair.driver_face.expression
        self._absolute.add(rms_mm(a, b))
        if self._first is None:
            self._first = a, b
        else:
            self._relative.add(rms_mm(a - self._first[0], b - self._first[1]))

    def result(self) -> Score | Missing:
        if not self._absolute.count:
            return Missing("no frame shows a face in both clips", "give clips with a face in view")
        details = {"std": self._absolute.std, "worst": self._absolute.worst}
        if self._relative.count:
            details["relative_mm"] = self._relative.mean
        return Score(self._absolute.mean, self._absolute.count, details)
