"""Estimates the light on a face: nine SH numbers for every live frame, or a whole Lighting copied from a photo.

Skin is taken to have one albedo, so what varies with the normal is light. Live (`estimate_sh`): linear least squares
on the SH basis, robust by Tukey weights, with a prior for the normals that the face does not show (nine numbers
suffice: Basri & Jacobs 2003). Photo (`estimate_lighting`): SH alone comes out too soft, so ambient + one directional
light are searched over a grid of directions, two non-negative unknowns each, robust by Huber weights. Stateless.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.errors import LightError, ShapeError
from lcvd.lighting.colour import LUMA, rgb_tuple
from lcvd.lighting.directions import direction_from_angles
from lcvd.lighting.lighting import wrapped_cosine
from lcvd.lighting.sh import LAMBERT, Y00, sh_basis, sh_from_directional
from lcvd.lighting.skin_colour import log_tint, soft_threshold
from lcvd.lighting.skin_samples import skin_samples
from lcvd.types import Background, DirectionalLight, Face, FloatArray, Lighting

# Per unit of total weight. More (0.03, 0.12) flattened a split light to half its contrast; the live caller's
# recursion over time gives the rest of the calm.
RIDGE = np.array([5e-4, *3 * [0.001], *5 * [0.005]])
TUKEY_SIGMAS = 2.5
ITERATIONS = 5
MIN_SAMPLES = 60
# Skin in well-balanced pictures, linear RGB at luminance 1: the median of 17 faces, fair and dark. Their logarithms
# spread by 0.15 in r/g and in b/g, so a tint within COMMON_DEAD says more of the person and the camera than of the
# light. Shaded skin is redder by itself (subsurface scattering): SIDE_DEAD, between the lit and the shaded side.
SKIN_RGB = np.array([1.54, 0.863, 0.644]) / (np.array([1.54, 0.863, 0.644]) @ LUMA)
COMMON_DEAD, SIDE_DEAD = 0.25, 0.15
WRAPS = (0.1, 0.35, 0.7)


def default_prior() -> NDArray[np.float64]:
    """Irradiance coefficients [9] of 0.75 ambient + 0.25 from the camera: a face seen in an ordinary room."""
    prior = 0.25 * sh_from_directional((0, 0, 1), (1, 1, 1))[:, 0].astype(np.float64) * LAMBERT
    prior[0] += 0.75 / Y00
    return prior


_DEFAULT_PRIOR = default_prior()


def estimate_sh(
    luminance_samples: ArrayLike, normals: ArrayLike, weights: ArrayLike | None = None, prior: ArrayLike | None = None
) -> FloatArray:
    """Shade of the scene as SH: linear luminance [N] ≥ 0 of skin at unit normals [N,3] → coefficients [9].

    *Irradiance* domain: shade(n) = sh_basis(n) @ c (divide by A_l/π = `lcvd.lighting.sh.LAMBERT` for radiance). Albedo
    is unknown, so c is scaled to show 1 at the median sample. `prior` [9], in the same domain and of any scale, holds
    what the normals do not show (default_prior; or the last frame's answer). IRLS: Huber, then Tukey 2.5 σ, times
    1/(0.3 + y), since noise grows with light; ridge toward the prior. All-black or no samples give the prior. Raises
    ShapeError.
    """
    y = np.asarray(luminance_samples, np.float64)
    n = np.asarray(normals, np.float64)
    if y.ndim != 1 or n.shape != (len(y), 3):
        raise ShapeError(f"samples [N] and normals [N,3], got {y.shape} and {n.shape}")
    p = _DEFAULT_PRIOR if prior is None else np.asarray(prior, np.float64)
    if p.shape != (9,):
        raise ShapeError(f"prior has shape [9], got {p.shape}")
    w0 = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    if w0.shape != y.shape:
        raise ShapeError(f"weights have shape {y.shape}, got {w0.shape}")
    keep = w0 > 0
    level = float(np.median(y[keep])) if keep.any() else 0.0
    if not level > 1e-6:
        return p.astype(np.float32)
    y = y / level
    basis = sh_basis(n)
    w0 = w0 / (0.3 + y)
    w0 /= w0.sum()
    # Scale the prior to the samples' exposure: at another one the ridge would change the estimated light.
    at_samples = float(w0 @ (basis @ p))
    p = p * (float(w0 @ y) / at_samples) if at_samples > 1e-6 else p
    w, c = w0, p
    for i in range(ITERATIONS):
        weighted = basis * w[:, None]
        c = np.linalg.solve(weighted.T @ basis + np.diag(RIDGE), weighted.T @ y + RIDGE * p)
        if i == ITERATIONS - 1:
            break
        residual = np.abs(y - basis @ c)
        sigma = max(1.4826 * float(np.median(residual[keep])), 0.01)
        if i < 1:  # Huber first: Tukey may throw a whole dark side away while the fit is still bad
            w = w0 * np.minimum(1, 1.345 * sigma / np.maximum(residual, 1e-9))
        else:
            w = w0 * np.square(np.maximum(1 - np.square(residual / (TUKEY_SIGMAS * sigma)), 0))
        w = w / max(float(w.sum()), 1e-3)
    return c.astype(np.float32)


class _Fit(NamedTuple):
    cost: float
    direction: tuple[float, float, float]
    wrap: float
    ambient: float
    key: float
    weights: NDArray[np.float64]  # [N]


def estimate_lighting(rgb: NDArray[np.uint8], face: Face, skin_mask: ArrayLike | None = None) -> Lighting:
    """The light of a photo: ambient + one key with a shadow, so that another face under it shows the same look.

    Direction and contrast are measured; exposure is not (a photo does not say how dark the skin is), so the face is
    shown at 0.9 on average, and never above 1.5; colour keeps the difference of lit and shaded side, and of the
    common tint the part that is not likely skin. Raises LightError when fewer than 60 skin samples are in sight.
    """
    samples = skin_samples(rgb, face, skin_mask)
    luma = (samples.rgb @ LUMA).astype(np.float64)
    # Blown highlights and black holes (nostrils, glasses) tell nothing of the light.
    usable = (samples.rgb.max(1) < 0.97) & (luma > 0.002)
    if usable.sum() < MIN_SAMPLES:
        raise LightError(
            f"only {int(usable.sum())} usable skin samples in the photo",
            "choose a photo with a larger, unhidden, normally exposed face",
        )
    colours, normals, luma = samples.rgb[usable].astype(np.float64), samples.normals[usable], luma[usable]
    y = luma / np.median(luma)
    fit = _search(y, normals, samples.weights[usable] / (0.3 + y))
    ambient, key = _colours(colours, normals, fit)
    response = wrapped_cosine(normals @ np.array(fit.direction), fit.wrap)
    shade = (ambient + response[:, None] * key) @ LUMA
    gain = min(0.9 / float(shade.mean()), 1.5 / float(np.percentile(shade, 99)))
    directional = DirectionalLight(
        fit.direction, rgb_tuple(gain * key), fit.wrap, float(np.clip(0.75 - 0.8 * fit.wrap, 0.15, 0.7))
    )
    return Lighting("photo", rgb_tuple(gain * ambient), (directional,), None, 0.2, 1.0, Background("dim", 0.7))


def _search(y: NDArray[np.float64], normals: FloatArray, base: NDArray[np.float64]) -> _Fit:
    """Find the best direction and wrap on a grid of 12° over all that can light a face, then finer around the best."""
    n = normals.astype(np.float64)
    base = base / base.sum()
    coarse = [(float(az), float(el)) for el in range(-60, 85, 12) for az in range(-144, 145, 12)]
    best, angles = _best(y, n, base, coarse)
    for step in (5.0, 2.0):
        near = [
            (angles[0] + i * step, np.clip(angles[1] + j * step, -80, 88))
            for i in (-2, -1, 0, 1, 2)
            for j in (-2, -1, 0, 1, 2)
        ]
        best, angles = _best(y, n, base, near)
    return best


def _best(
    y: NDArray[np.float64], n: NDArray[np.float64], base: NDArray[np.float64], angles: list[tuple[float, float]]
) -> tuple[_Fit, tuple[float, float]]:
    directions = np.array([direction_from_angles(*a) for a in angles])
    cosines = directions @ n.T
    found: tuple[_Fit, tuple[float, float]] | None = None
    for wrap in WRAPS:
        ambient, key, cost, weights = _two_parameter_nnls(y, base, wrapped_cosine(cosines, wrap))
        # Lights far from the camera axis explain little of a frontal face: prefer the one nearer to it when they tie.
        cost = cost * (1.02 - 0.02 * directions[:, 2])
        i = int(np.argmin(cost))
        if found is None or cost[i] < found[0].cost:
            d = directions[i]
            fit = _Fit(
                float(cost[i]),
                (float(d[0]), float(d[1]), float(d[2])),
                wrap,
                float(ambient[i]),
                float(key[i]),
                weights[i],
            )
            found = fit, angles[i]
    assert found is not None
    return found


def _two_parameter_nnls(
    y: NDArray[np.float64], base: NDArray[np.float64], response: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """y [N] ≈ a + k · response [D,N], a, k ≥ 0, robust by reweighting → a [D], k [D], cost [D], weights [D,N].

    Two unknowns have a closed form: the free solution, or the border it crosses. One Huber width for all directions,
    or a bad one would widen its own and win. Tukey weights instead lost the dark side of split lights.
    """
    w = np.broadcast_to(base, response.shape)
    for _ in range(4):
        s0 = w.sum(1)
        s1 = np.einsum("dn,dn->d", w, response)
        s2 = np.einsum("dn,dn->d", w * response, response)
        t0 = w @ y
        t1 = (w * response) @ y
        det = np.maximum(s0 * s2 - s1 * s1, 1e-9)
        a, k = (s2 * t0 - s1 * t1) / det, (s0 * t1 - s1 * t0) / det
        k = np.where(a < 0, t1 / np.maximum(s2, 1e-9), np.maximum(k, 0))
        a = np.where(k <= 0, t0 / s0, np.maximum(a, 0))
        residual = np.abs(y - a[:, None] - k[:, None] * response)
        delta = max(1.345 * 1.4826 * float(np.median(residual, axis=1).min()), 0.02)
        w = base * np.minimum(1, delta / np.maximum(residual, 1e-9))
    huber = np.where(residual <= delta, 0.5 * residual**2, delta * (residual - 0.5 * delta))
    return a, k, huber @ base, w


def _colours(
    rgb: NDArray[np.float64], normals: FloatArray, fit: _Fit
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ambient and key as linear RGB [3], with the skin's colour divided out."""
    response = wrapped_cosine(normals.astype(np.float64) @ np.array(fit.direction), fit.wrap)
    design = np.stack([np.ones_like(response), response], 1)
    weighted = design * fit.weights[:, None]
    # A little ridge toward one common colour: a flat photo must not invent two opposite tints.
    common = np.average(rgb, axis=0, weights=fit.weights)
    common /= common @ LUMA
    level = np.average(rgb @ LUMA, weights=fit.weights)
    target = np.outer([fit.ambient, fit.key], common) * level / max(fit.ambient + fit.key * response.mean(), 1e-6)
    ridge = 0.02 * np.eye(2) * fit.weights.sum()
    solved = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ rgb + ridge @ target)
    ambient, key = np.maximum(solved, 0.0)
    ambient = np.maximum(ambient, 0.08 * common * level)  # no room is black
    tint = soft_threshold(log_tint(common) - log_tint(SKIN_RGB), COMMON_DEAD)
    return _tinted(ambient, common, tint), _tinted(key, common, tint)


def _tinted(rgb: NDArray[np.float64], common: NDArray[np.float64], tint: NDArray[np.float64]) -> NDArray[np.float64]:
    """`rgb` at its own luminance, in the colour of the light: the common tint plus this source's difference from it."""
    colour = np.exp(tint + soft_threshold(log_tint(rgb) - log_tint(common), SIDE_DEAD))
    result: NDArray[np.float64] = colour * ((rgb / common) @ LUMA) / (colour @ LUMA)
    return result
