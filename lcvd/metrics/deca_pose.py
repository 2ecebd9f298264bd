"""The paper's POSE: the angle between DECA's head rotations of result and driver (LCVD Table 3, cross-identity).

The paper prints neither formula nor unit; ours is the geodesic angle in degrees, as in `lcvd.metrics.pose`.
"""

from lcvd.metrics.deca_codes import DecaCodes, head_rotation
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Request, Score
from lcvd.metrics.pose import RotationError


class DecaPose:
    """`POSE`."""

    info = MetricInfo(
        name="POSE",
        column="POSE",
        better="lower",
        unit="°",
        source="LCVD Table 3 (formula assumed: angle on SO(3)); estimator: DECA, Feng et al. 2021",
        needs="torch, deca_model.tar",
    )

    def __init__(self, request: Request, codes: DecaCodes) -> None:
        self._codes = codes
        self._error = RotationError()

    def available(self) -> Missing | None:
        return self._codes.available()

    def load(self) -> None:
        self._codes.load()

    def update(self, pair: FramePair) -> None:
        result, driver = self._codes.of(pair)
        if result is not None and driver is not None:
            self._error.add(head_rotation(result), head_rotation(driver))

    def result(self) -> Score | Missing:
        return self._error.score()
