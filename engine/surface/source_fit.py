"""fitted_light turns the network's light, pixel by pixel, into one light of order 2 that explains it.

Pixel by pixel it takes dark lids, brows and lips for shadow in part, and a face that is freed of them looks processed;
an order-2 light on the network's normals cannot say such things, and is nearly all that relighting needs (docs/LOG.md).
"""

import numpy as np

from engine.relighting.source_light import RIDGE, prior
from engine.surface.network import HeadLayers
from lcvd.lighting.colour import LUMA
from lcvd.lighting.sh import sh_basis
from lcvd.types import FloatArray

STEP = 2  # every other pixel is enough
ROUNDS = 3
DARKEST, BRIGHTEST = -3.2, 1.4  # log of light over the face's mean
LEAST = 0.08  # errors count relative to the light, but not below this


def fitted_light(said: HeadLayers, weight: FloatArray) -> FloatArray:
    """Return irradiance coefficients [9,3] (basis of lcvd.lighting.sh), luminance 1 on the face's mean.

    `weight` [S,S] says how much each pixel counts. Errors are relative, so that a dark half counts as a bright one
    does: least squares, weighted anew by the fit's own light; the ridge is that of `SourceLight`.
    """
    basis = sh_basis(said.normal[::STEP, ::STEP].reshape(-1, 3)).astype(np.float64)
    level = np.exp(np.clip(said.light[::STEP, ::STEP].reshape(-1, 3), DARKEST, BRIGHTEST)).astype(np.float64)
    counts = weight[::STEP, ::STEP].ravel().astype(np.float64)
    usual = np.repeat(prior().astype(np.float64)[:, None], 3, 1)
    fit = usual
    for _ in range(ROUNDS):
        w = counts / np.square(np.maximum(basis @ (fit @ LUMA), LEAST))
        total = w.sum() + 1e-3
        weighted = basis * w[:, None]
        fit = np.linalg.solve(weighted.T @ basis + total * np.diag(RIDGE), weighted.T @ level + total * RIDGE[:, None] * usual)
    return fit.astype(np.float32)
