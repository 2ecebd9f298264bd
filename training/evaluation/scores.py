"""Pictures of a case → Scores: everything inside the portrait, since LCVD is given the background.

light_error is the repo's own (`lcvd.metrics.light_error`, docs/evaluate.md): RMS of two balls of mean shade 1. Here the
light estimated on the result is held against the light estimated *on the truth*, by the same faces: the estimator's own
mistakes (beards, dark skin) stand on both sides. light_error_request holds it against the light itself, as
`relight evaluate` must; its floor is what the truth scores. DECA's LE and ArcFace's ID need weights we may not ship.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.metrics.background import psnr_db
from lcvd.metrics.light_error import DARK, ball_normals, ball_rmse, irradiance_of_light, irradiance_on_face
from lcvd.sh import sh_basis
from training.evaluation.case import Case
from training.evaluation.detail import correlation, face_detail
from training.evaluation.ssim import ssim

_BALL = sh_basis(ball_normals()).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over the frames of one case; NaN where no frame could be measured."""

    psnr: float  # dB on the portrait, one MSE over all frames; 100 for equal pictures
    ssim: float
    light_error: float  # of mean shade, against the light seen on the truth
    light_error_request: float  # of mean shade, against the light asked for
    light_gain: float  # contrast of the light: 1 as on the truth, below 1 too flat, above 1 too hard
    identity_detail: float  # correlation with the head under flat light; see training.evaluation.detail


@dataclass(frozen=True, slots=True)
class Column:
    """How a score is printed."""

    name: str
    title: str
    better: Literal["higher", "lower", "one"]
    digits: int


COLUMNS = (
    Column("psnr", "PSNR dB ↑", "higher", 2),
    Column("ssim", "SSIM ↑", "higher", 3),
    Column("light_error", "light error ↓", "lower", 3),
    Column("light_error_request", "to the request ↓", "lower", 3),
    Column("light_gain", "light gain → 1", "one", 2),
    Column("identity_detail", "identity detail ↑", "higher", 3),
)
assert [column.name for column in COLUMNS] == [field.name for field in fields(Scores)]


def scored(
    pictures: NDArray[np.uint8],  # [T,S,S,3]
    case: Case,
) -> Scores:
    """Raises ShapeError where pictures are not the case's."""
    if pictures.shape != case.truth.shape or pictures.dtype != np.uint8:
        raise ShapeError(f"pictures: expected uint8 {case.truth.shape}, got {pictures.dtype} {pictures.shape}")
    squares = np.square(pictures.astype(np.float64) - case.truth)[case.masks]
    requested = irradiance_of_light(case.target)
    similar: list[float] = []
    error: list[float] = []
    request: list[float] = []
    gain: list[float] = []
    identity: list[float] = []
    for picture, truth, flat, mask, face in zip(pictures, case.truth, case.flat, case.masks, case.faces, strict=True):
        similar.append(ssim(picture, truth, mask))
        identity.append(correlation(face_detail(picture, face), face_detail(flat, face)))
        found, wanted = irradiance_on_face(picture, face), irradiance_on_face(truth, face)
        if found is not None:
            request.append(ball_rmse(found, requested))
            if wanted is not None:
                error.append(ball_rmse(found, wanted))
                gain.append(light_gain(found, wanted))
    return Scores(
        psnr=psnr_db(float(squares.mean())),
        ssim=_mean(similar),
        light_error=_mean(error),
        light_error_request=_mean(request),
        light_gain=_mean(gain),
        identity_detail=_mean(identity),
    )


def light_gain(found: NDArray[np.floating], wanted: NDArray[np.floating]) -> float:
    """Slope of one ball's shape on the other's, [9] and [9], both at mean 1; NaN where one is black or flat."""
    a, b = _BALL @ np.asarray(found, np.float64), _BALL @ np.asarray(wanted, np.float64)
    if a.mean() < DARK or b.mean() < DARK:
        return math.nan
    a, b = a / a.mean() - 1, b / b.mean() - 1
    power = float(b @ b)
    return float(a @ b) / power if power > 1e-9 * len(b) else math.nan


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
