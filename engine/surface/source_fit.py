"""fitted_light turns the network's light, pixel by pixel, into one light of order 2 and the broad shadows it leaves out.

Pixel by pixel the network takes dark lids, brows and lips for shadow in part, and a face that is freed of them looks
processed. An order-2 light on the network's normals cannot say such things; but nor can it say what hard light does to
a head, which throws half of it into shadow. What the fit leaves is therefore kept where it is broad and plain.
"""

from typing import NamedTuple

import cv2
import numpy as np

from engine.relighting.source_light import prior
from engine.surface.network import HeadLayers
from lcvd.lighting.sh import sh_basis
from lcvd.types import FloatArray

STEP = 3  # every third pixel is enough
ROUNDS = 4
DARKEST, BRIGHTEST = -3.2, 1.4  # log of light over the face's mean
LEAST = 0.08  # errors count relative to the light, but not below this
TUKEY, SPREAD = 3.0, 0.05  # biweight: zero at so many deviations, of which so much is always allowed
# A tenth of `SourceLight`'s: the whole head's normals leave less open than the face's do.
RIDGE = np.array([1e-5, *3 * [7e-4], *5 * [5e-3]], np.float64)
BROAD = 4.0  # px, standard deviation: lids and lips are narrower
PLAIN = 0.15  # log of light: smaller differences are left to the fit


class FittedLight(NamedTuple):
    """The light in the picture: luminance is `sh_basis(normal) @ coefficients` times `shadow`."""

    coefficients: FloatArray  # [9] irradiance coefficients of luminance (basis of lcvd.lighting.sh), 1 on the face
    shadow: FloatArray  # [S,S] factor, 1 where the coefficients say it all


def fitted_light(said: HeadLayers, weight: FloatArray) -> FittedLight:
    """Return the light that explains the network's. `weight` [S,S] says how much each pixel counts.

    Errors are relative, so that a dark half counts as a bright one does: least squares, weighted anew by the fit's own
    light and by Tukey's biweight, so that cast shadows and paint do not bend it.
    """
    basis = sh_basis(said.normal[::STEP, ::STEP].reshape(-1, 3)).astype(np.float64)
    log = np.clip(said.light, DARKEST, BRIGHTEST)
    level = np.exp(log[::STEP, ::STEP].ravel()).astype(np.float64)
    counts = weight[::STEP, ::STEP].ravel().astype(np.float64)
    usual = prior().astype(np.float64)
    fit = usual
    certain = counts > 0.3
    trust = counts
    for _ in range(ROUNDS):
        expected = np.maximum(basis @ fit, LEAST)
        w = trust / np.square(expected)
        total = w.sum() + 1e-3
        weighted = basis * w[:, None]
        fit = np.linalg.solve(weighted.T @ basis + total * np.diag(RIDGE), weighted.T @ level + total * RIDGE * usual)
        if certain.any():
            expected = np.maximum(basis @ fit, LEAST)
            error = np.abs(level - expected) / expected
            u = np.minimum(error / (TUKEY * (1.4826 * np.median(error[certain]) + SPREAD)), 1)
            trust = counts * np.square(1 - u * u)
    coefficients = fit.astype(np.float32)
    return FittedLight(coefficients, _shadow(said.normal, log, weight, coefficients))


def _shadow(normal: FloatArray, log: FloatArray, weight: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Return what the fit leaves, blurred, and only as far as it is more than PLAIN."""
    left = log - np.log(np.maximum(sh_basis(normal) @ coefficients, np.float32(LEAST)))
    both = cv2.GaussianBlur(np.dstack((left * weight, weight)).astype(np.float32), (0, 0), BROAD)
    mean = both[..., 0] / np.maximum(both[..., 1], np.float32(1e-2))
    return np.exp(np.sign(mean) * np.maximum(np.abs(mean) - np.float32(PLAIN), 0)).astype(np.float32)
