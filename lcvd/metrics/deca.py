"""The paper's lighting error LE and head pose POSE, both by DECA on result and driver. Needs torch and the user's file.

Only `deca_model.tar` is needed (no FLAME): the encoder of `lcvd.tracking.deca`, on DECA's crop around our landmarks,
once per frame for both. LE (LCVD Tables 1, 4, 5; Feng et al. 2021): the Euclidean distance of two [9,3] coefficient
arrays in DECA's convention, mean over frames; `rms` divides it by √27. The paper prints no formula: the norm fits the
size of its numbers, but has not been checked against theirs. DECA's light carries the exposure of the picture and the
guess at the skin's albedo, so `scaled` also gives the distance after the best single gain. POSE (Table 3): the geodesic
angle of the head rotations in degrees, as in `lcvd.metrics.pose`; the paper prints neither formula nor unit.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.sh import deca_from_sh
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Picture, Request, RunningMean, Score
from lcvd.metrics.pose import RotationError
from lcvd.metrics.weight_files import every, find, require, require_torch
from lcvd.tracking.deca import DecaCode, Encoder, cut, deca_crop, landmarks_68, split_code, torch_encoder
from lcvd.types import Face

FILES = ("deca_model.tar", "data/deca_model.tar", "deca/deca_model.tar")
ORIGIN = "DECA's README, github.com/yfeng95/DECA (non-commercial research licence)"


class DecaPair(NamedTuple):
    """DECA's codes of one frame pair; None without a face seen in that frame."""

    result: DecaCode | None
    driver: DecaCode | None


class DecaCodes:
    """DECA's codes of a frame pair, kept for the second metric that asks. `encoder` replaces the file's network."""

    def __init__(self, request: Request, encoder: Encoder | None = None) -> None:
        self._files = request.files
        self._encoder = encoder
        self._index = -1
        self._pair = DecaPair(None, None)

    def available(self) -> Missing | None:
        """Same as Metric.available."""
        if self._encoder is not None:
            return None
        return every(require_torch(), require(self._files, FILES, ORIGIN))

    def load(self) -> None:
        """Same as Metric.load."""
        path = find(self._files, *FILES)
        if self._encoder is None and path is not None:
            self._encoder = torch_encoder(path)

    def encode(self, pair: FramePair) -> DecaPair:
        """Encode both frames of `pair`, or return the kept codes when it was the last one."""
        if pair.index != self._index:
            self._pair = DecaPair(self._code(pair.result, pair.result_face), self._code(pair.driver, pair.driver_face))
            self._index = pair.index
        return self._pair

    def _code(self, rgb: Picture, face: Face | None) -> DecaCode | None:
        if face is None or face.held or self._encoder is None:
            return None
        crop = deca_crop(landmarks_68(face))
        return split_code(np.asarray(self._encoder(cut(rgb, crop)[None]), np.float32)[0], crop)


def head_rotation(code: DecaCode) -> NDArray[np.float64]:
    """Convert the global pose, the code's first three numbers (axis-angle), to a rotation [3,3] (Rodrigues)."""
    return np.asarray(cv2.Rodrigues(np.asarray(code.pose[:3], np.float64))[0])


class DecaLightError:
    """The metric `LE`: it compares DECA's light code of the result with the requested light."""

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
        result, driver = self._codes.encode(pair)
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


class DecaPose:
    """The metric `POSE`: it compares the head rotations that DECA gives for result and driver."""

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
        result, driver = self._codes.encode(pair)
        if result is not None and driver is not None:
            self._error.add(head_rotation(result), head_rotation(driver))

    def result(self) -> Score | Missing:
        return self._error.score()
