"""scored compares pictures of a case with its truth, inside the portrait only, since LCVD is given the background.

light_error is the repo's own (`lcvd.metrics.light_error`, docs/evaluate.md): RMS of two balls of mean shade 1. Here the
light estimated on the result is compared with the light estimated *on the truth*, by the same faces, so the estimator's
own errors (beards, dark skin) are on both sides. light_error_request compares it with the requested light, as `relight
evaluate` must; its floor is the truth's score. DECA's LE and ArcFace's ID need weights we may not ship.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.lighting.sh import sh_basis
from lcvd.metrics.background import psnr_db
from lcvd.metrics.light_error import DARK, ball_normals, ball_rmse, irradiance_of_light, irradiance_on_face
from training.evaluation.case import Case
from training.evaluation.detail import correlation, face_detail
from training.evaluation.ssim import ssim

STILL = 0.1  # RMS between two balls below which their difference is mostly the estimator's noise
FloatNumbers = NDArray[np.floating]
_BALL = sh_basis(ball_normals()).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Scores:
    """Holds means over the frames of one case; NaN where no frame could be measured."""

    psnr: float  # dB on the portrait, one MSE over all frames; 100 for equal pictures
    ssim: float
    light_error: float  # of mean shade, against the light seen on the truth
    light_error_request: float  # of mean shade, against the light asked for
    light_moved: float  # how far the light went from the source's to the truth's: 0 not at all, 1 there, above beyond
    identity_detail: float  # correlation with the head under flat light; see training.evaluation.detail
    lit_frames: float = 1.0  # share of the frames that show enough skin to tell their light


@dataclass(frozen=True, slots=True)
class Column:
    """Describes how a score is printed."""

    name: str
    title: str
    better: Literal["higher", "lower", "one"]
    digits: int


COLUMNS = (
    Column("psnr", "PSNR dB ↑", "higher", 2),
    Column("ssim", "SSIM ↑", "higher", 3),
    Column("light_error", "light error ↓", "lower", 3),
    Column("light_error_request", "to the request ↓", "lower", 3),
    Column("light_moved", "light moved → 1", "one", 2),
    Column("identity_detail", "identity detail ↑", "higher", 3),
)
assert [*(column.name for column in COLUMNS), "lit_frames"] == [field.name for field in fields(Scores)]


def scored(
    pictures: NDArray[np.uint8],  # [T,S,S,3]
    case: Case,
) -> Scores:
    """Scores pictures. Raises ShapeError where they do not have the case's shape."""
    if pictures.shape != case.truth.shape or pictures.dtype != np.uint8:
        raise ShapeError(f"pictures: expected uint8 {case.truth.shape}, got {pictures.dtype} {pictures.shape}")
    squares = np.square(pictures.astype(np.float64) - case.truth)[case.masks]
    requested = irradiance_of_light(case.target)
    similar: list[float] = []
    error: list[float] = []
    request: list[float] = []
    moved: list[float] = []
    identity: list[float] = []
    for picture, truth, source, flat, mask, face in zip(
        pictures, case.truth, case.source, case.flat, case.masks, case.faces, strict=True
    ):
        similar.append(ssim(picture, truth, mask))
        identity.append(correlation(face_detail(picture, face), face_detail(flat, face)))
        found, wanted, own = (irradiance_on_face(rgb, face) for rgb in (picture, truth, source))
        if found is None:
            continue
        request.append(ball_rmse(found, requested))
        if wanted is not None:
            error.append(ball_rmse(found, wanted))
        if wanted is not None and own is not None:
            moved.append(light_moved(own, found, wanted))
    return Scores(
        psnr=psnr_db(float(squares.mean())),
        ssim=_mean(similar),
        light_error=_mean(error),
        light_error_request=_mean(request),
        light_moved=_mean(moved),
        identity_detail=_mean(identity),
        lit_frames=len(request) / len(pictures),
    )


def light_moved(own: FloatNumbers, found: FloatNumbers, wanted: FloatNumbers) -> float:
    """Returns the share of the way from ball `own` to ball `wanted` [9] that `found` went, along that way.

    The result is NaN where one is black, or where almost no change was requested.
    """
    balls = [_BALL @ np.asarray(light, np.float64) for light in (own, found, wanted)]
    if min(ball.mean() for ball in balls) < DARK:
        return math.nan
    start, here, end = (ball / ball.mean() for ball in balls)
    way = end - start
    if np.square(way).mean() < STILL**2:
        return math.nan
    return float((here - start) @ way) / float(way @ way)


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
