"""The paper's lighting error: DECA's light on the result against the requested light, as 27 SH coefficients.

LE of LCVD (Tables 1, 4, 5) by DECA's estimator (Feng et al. 2021). `value` is the Euclidean distance of the two [9,3]
coefficient arrays in DECA's convention, mean over frames; `rms` divides it by √27. The paper prints no formula: the
norm fits the size of its numbers, but has not been checked against theirs. DECA's light carries the exposure of the
picture and the guess at the skin's albedo, so `scaled` also gives the distance after the best single gain.
"""

import math

import numpy as np

from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.sh import deca_from_sh
from lcvd.metrics.deca_codes import DecaCodes
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Request, Score
from lcvd.metrics.running_mean import RunningMean


class DecaLightError:
    """`LE`."""

    info = MetricInfo(
        name="LE",
        column="LE",
        better="lower",
        unit="",
        source="LCVD Tables 1, 4, 5 (norm assumed: Euclidean over 27); estimator: DECA, Feng et al. 2021",
        needs="torch, deca_model.tar",
    )

    def __init__(self, request: Request, codes: DecaCodes) -> None:
        self._strength = request.lighting.strength
        self._requested = deca_from_sh(sh_projection(request.lighting)).astype(np.float64)
        self._codes = codes
        self._error, self._scaled, self._driver = RunningMean(), RunningMean(), RunningMean()

    def available(self) -> Missing | None:
        if self._strength == 0:
            return Missing("the light keeps the driver's own", "name the light that the result was made with")
        return self._codes.available()

    def load(self) -> None:
        self._codes.load()

    def update(self, pair: FramePair) -> None:
        result, driver = self._codes.of(pair)
        if result is not None:
            found = result.light.astype(np.float64)
            self._error.add(float(np.linalg.norm(found - self._requested)))
            gain = float((found * self._requested).sum()) / max(float(np.square(found).sum()), 1e-12)
            self._scaled.add(float(np.linalg.norm(max(gain, 0) * found - self._requested)))
        if driver is not None:
            self._driver.add(float(np.linalg.norm(driver.light - self._requested)))

    def result(self) -> Score | Missing:
        if not self._error.count:
            return Missing("no frame shows a face", "give a clip with a face in view")
        details = {"rms": self._error.mean / math.sqrt(27), "std": self._error.std, "scaled": self._scaled.mean}
        if self._driver.count:
            details["driver"] = self._driver.mean
        return Score(self._error.mean, self._error.count, details)
