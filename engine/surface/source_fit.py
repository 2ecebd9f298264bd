"""fitted_light turns the network's light, pixel by pixel, into one light of order 2 and the broad shadows beside it.

Pixel by pixel the network takes dark lids, brows and lips for shadow in part, and a face that is freed of them looks
processed. An order-2 light on the network's normals cannot say such things; but nor can it say what hard light does to
a head, which throws half of it into shadow. What the fit leaves is therefore kept where it is broad and plain.
"""

from typing import NamedTuple

import cv2
import numba
import numpy as np

from engine.relighting.least_squares import normal_equations, predict, ridge_solve
from engine.relighting.source_light import PRIOR
from engine.surface.crop import SIDE
from engine.surface.network import HeadLayers
from lcvd.lighting.sh import sh_basis
from lcvd.types import FloatArray

STEP = 3  # every third pixel is enough for what is smooth; odd, so that the taken ones lie in the middle
ROUNDS = 4
DARKEST, BRIGHTEST = -3.2, 1.4  # log of light over the face's mean
LEAST = 0.08  # errors count relative to the light, but not below this
TUKEY, SPREAD = 3.0, 0.05  # biweight: zero at so many deviations, of which so much is always allowed
# A tenth of `SourceLight`'s: the whole head's normals leave less open than the face's do.
RIDGE = np.array([1e-5, *3 * [7e-4], *5 * [5e-3]], np.float64)
BROAD = 4.0 / STEP  # standard deviation, in taken pixels: lids and lips are narrower
PLAIN = 0.1  # log of light: smaller differences are left to the fit


class FittedLight(NamedTuple):
    """The light in the picture: luminance is `sh_basis(normal) @ coefficients` times `shadow`."""

    coefficients: FloatArray  # [9] irradiance coefficients of luminance (basis of lcvd.lighting.sh), 1 on the face
    shadow: FloatArray  # [S,S] factor, 1 where the coefficients say it all


def fitted_light(said: HeadLayers, weight: FloatArray) -> FittedLight:
    """Return the light that explains the network's. `weight` [S,S] says how much each pixel counts.

    Errors are relative, so that a dark half counts as a bright one does: least squares, weighted anew by the fit's own
    light and by Tukey's biweight, so that cast shadows and paint do not bend it.
    """
    normal, log, counts = (layer[STEP // 2 :: STEP, STEP // 2 :: STEP] for layer in (said.normal, said.light, weight))
    log = np.clip(log, DARKEST, BRIGHTEST)
    basis = sh_basis(normal.reshape(-1, 3)).astype(np.float64)
    fit, predicted = _robust_fit(
        basis, np.exp(log.ravel().astype(np.float64)), counts.ravel().astype(np.float64), PRIOR, RIDGE
    )
    left = log - np.log(np.maximum(predicted, LEAST)).astype(np.float32).reshape(log.shape)
    both = cv2.GaussianBlur(np.dstack((left * counts, counts)), (0, 0), BROAD)
    mean = both[..., 0] / np.maximum(both[..., 1], np.float32(1e-2))
    shadow = np.exp(np.sign(mean) * np.maximum(np.abs(mean) - np.float32(PLAIN), 0))
    wide = cv2.resize(shadow, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return FittedLight(fit.astype(np.float32), wide)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _robust_fit(basis, level, counts, start, ridge):  # type: ignore[no-untyped-def]
    """Return the coefficients [9] of `basis` [N,9] that explain `level` [N] > 0, each counted by `counts` [N].

    Returned as well: what they give, [N]. `ridge` [9] draws them to `start` [9].
    """
    count, size = basis.shape
    trust, weight = counts.copy(), np.empty(count)
    predicted, error = np.empty(count), np.empty(count)
    normal, right = np.empty((size, size)), np.empty(size)
    certain = counts > 0.3
    predict(basis, start, predicted)
    for _ in range(ROUNDS):
        for i in range(count):
            weight[i] = trust[i] / max(predicted[i], LEAST) ** 2
        normal_equations(basis, level, weight, normal, right)
        fit = ridge_solve(normal, right, (weight.sum() + 1e-3) * ridge, start)
        predict(basis, fit, predicted)
        for i in range(count):
            error[i] = abs(level[i] / max(predicted[i], LEAST) - 1)
        if certain.any():
            reach = TUKEY * (1.4826 * np.median(error[certain]) + SPREAD)
            for i in range(count):
                u = min(error[i] / reach, 1.0)
                trust[i] = counts[i] * (1 - u * u) ** 2
    return fit, predicted
