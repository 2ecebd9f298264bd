"""Measures the distance of the light on the result's face from the requested light, without any weights.

Per frame the face's skin gives nine SH numbers (`lcvd.lighting.estimate`), the request gives nine (`sh_projection`);
both become the luminance of a matte ball as the camera sees it, scaled to mean 1 (exposure and skin tone are unknown),
and the error is the RMS of the difference over the ball's picture. The paper's LE compares DECA's coefficients instead
(`lcvd.metrics.deca`); both are 0 for the right light and grow with its distance, but their units differ.
"""

import math

import numpy as np
from numpy.typing import NDArray

from lcvd.lighting.colour import LUMA
from lcvd.lighting.estimate import MIN_SAMPLES, estimate_sh
from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.sh import LAMBERT, sh_basis
from lcvd.lighting.skin_samples import skin_samples
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Picture, Request, RunningMean, Score
from lcvd.types import Face, Lighting

BALL_NORMALS = 1000
DARK = 1e-3  # mean shade of the ball below which a light has no shape to compare


def ball_normals(count: int = BALL_NORMALS) -> NDArray[np.float64]:
    """Unit normals [count,3] of a ball seen from the front, one for each equal part of its picture.

    Evenly spread over the disc by the golden angle (Vogel 1979): each normal counts by its share of the visible disc.
    """
    i = np.arange(count)
    radius2 = (i + 0.5) / count
    angle = i * math.pi * (3 - math.sqrt(5))
    radius = np.sqrt(radius2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius2)], axis=1)


_BASIS = sh_basis(ball_normals())


def irradiance_of_light(lighting: Lighting) -> NDArray[np.float64]:
    """Irradiance/π coefficients [9] of the light's luminance: shade(n) = sh_basis(n) @ this."""
    return (sh_projection(lighting).astype(np.float64) @ LUMA) * LAMBERT


def irradiance_on_face(rgb: Picture, face: Face | None) -> NDArray[np.float64] | None:
    """Irradiance/π coefficients [9] on the face, of unknown scale.

    None without a face that was seen in this very frame, or with fewer than 60 usable skin samples.
    """
    if face is None or face.held:
        return None
    samples = skin_samples(rgb, face)
    luma = (samples.rgb @ LUMA).astype(np.float64)
    usable = (samples.rgb.max(1) < 0.97) & (luma > 0.002)  # neither blown out nor a black hole
    if usable.sum() < MIN_SAMPLES:
        return None
    return estimate_sh(luma[usable], samples.normals[usable], samples.weights[usable]).astype(np.float64)


def ball_rmse(estimated: NDArray[np.floating], requested: NDArray[np.floating]) -> float:
    """RMS difference of two balls [9], [9], each scaled to mean 1; NaN where one is black."""
    a, b = _BASIS @ np.asarray(estimated, np.float64), _BASIS @ np.asarray(requested, np.float64)
    if a.mean() < DARK or b.mean() < DARK:
        return math.nan
    return float(np.sqrt(np.mean(np.square(a / a.mean() - b / b.mean()))))


def direction_error_deg(estimated: NDArray[np.floating], requested: NDArray[np.floating]) -> float:
    """Angle between the dominant directions (band 1 as a vector) of two lights [9]; NaN where one has none."""
    a, b = (np.asarray(c, np.float64)[[3, 1, 2]] for c in (estimated, requested))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths < 1e-9:
        return math.nan
    return math.degrees(math.acos(float(np.clip(a @ b / lengths, -1, 1))))


class LightError:
    """`light_error`: details give the driver's own error (what doing nothing scores) and the direction's in degrees."""

    info = MetricInfo(
        name="light_error",
        column="",
        better="lower",
        unit="of mean shade",
        source="ours; after LE (LCVD Table 1) with lcvd.lighting.estimate in DECA's place, irradiance by Ramamoorthi & "
        "Hanrahan 2001 eq. 8",
        needs="",
    )

    def __init__(self, request: Request) -> None:
        self._strength = request.lighting.strength
        self._requested = irradiance_of_light(request.lighting)
        self._error, self._driver, self._angle = RunningMean(), RunningMean(), RunningMean()

    def available(self) -> Missing | None:
        if self._strength == 0:
            return Missing("the light keeps the driver's own", "name the light that the result was made with")
        if (_BASIS @ self._requested).mean() < DARK:
            return Missing("the light leaves the face black", "name a light that shines on the face")
        return None

    def load(self) -> None:
        pass

    def update(self, pair: FramePair) -> None:
        found = irradiance_on_face(pair.result, pair.result_face)
        if found is not None:
            _add(self._error, ball_rmse(found, self._requested))
            _add(self._angle, direction_error_deg(found, self._requested))
        own = irradiance_on_face(pair.driver, pair.driver_face)
        if own is not None:
            _add(self._driver, ball_rmse(own, self._requested))

    def result(self) -> Score | Missing:
        if not self._error.count:
            return Missing("no frame shows enough skin", "the face must be at least about 60 px wide and not hidden")
        details = {"std": self._error.std, "worst": self._error.worst}
        if self._angle.count:
            details["direction_deg"] = self._angle.mean
        if self._driver.count:
            details["driver"] = self._driver.mean
        return Score(self._error.mean, self._error.count, details)


def _add(mean: RunningMean, value: float) -> None:
    if not math.isnan(value):
        mean.add(value)
