"""Real spherical harmonics of order 2: basis, irradiance, rotation, and the DECA and DPR conventions.

Basis: orthonormal, all signs positive (no Condon-Shortley phase), order l,m = 00, 1-1, 10, 11, 2-2, 2-1, 20, 21, 22, so
1, y, z, x, xy, yz, 3z²-1, xz, x²-y². Coefficients `sh` [9,3] are *radiance* in linear RGB. A matte surface of normal n
then shows Σ (A_l/π) sh_lm Y_lm(n) with A_l/π = 1, 2/3, 1/4 (Ramamoorthi & Hanrahan 2001, "An Efficient Representation
for Irradiance Environment Maps", eq. 8 and 12). Directional lights are `lcvd.lighting.lighting`'s.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.errors import ShapeError
from lcvd.types import FloatArray

Y00 = 0.5 / np.sqrt(np.pi)
Y1 = np.sqrt(3 / (4 * np.pi))  # times y, z, x
Y2 = np.sqrt(15 / (4 * np.pi))  # times xy, yz, xz; half of it times x²-y²
Y20 = np.sqrt(5 / (16 * np.pi))  # times 3z²-1

BAND = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2])
# A_l/π of the clamped cosine, one per coefficient: radiance coefficients times this = coefficients of irradiance/π.
LAMBERT = np.array([1.0, 2 / 3, 1 / 4])[BAND].astype(np.float32)

# DECA's order 1, x, y, z, xy, xz, yz, x²-y², 3z²-1 as indices into ours (docs/lights.md gives the source).
_DECA_FROM_OURS = np.array([0, 3, 1, 2, 4, 7, 5, 8, 6])


def _coefficients(sh: ArrayLike) -> NDArray[np.float64]:
    sh = np.asarray(sh, dtype=np.float64)
    if sh.ndim not in (1, 2) or sh.shape[0] != 9:
        raise ShapeError(f"SH coefficients have shape [9] or [9,3], got {sh.shape}", "order 2 has nine coefficients")
    return sh


def _vectors(vectors: ArrayLike) -> NDArray[np.floating]:
    vectors = np.asarray(vectors)
    if vectors.dtype not in (np.float32, np.float64):
        vectors = vectors.astype(np.float32)
    if vectors.ndim < 1 or vectors.shape[-1] != 3:
        raise ShapeError(f"normals have shape [...,3], got {vectors.shape}", "the last axis is x, y, z")
    return vectors


def sh_basis(normals: ArrayLike) -> NDArray[np.floating]:
    """Y_lm(n), [...,3] unit vectors -> [...,9], in the floating type that came (float32 otherwise)."""
    n = _vectors(normals)
    x, y, z = n[..., 0], n[..., 1], n[..., 2]
    out = np.empty((*n.shape[:-1], 9), n.dtype)
    out[..., 0] = Y00
    out[..., 1] = Y1 * y
    out[..., 2] = Y1 * z
    out[..., 3] = Y1 * x
    out[..., 4] = Y2 * x * y
    out[..., 5] = Y2 * y * z
    out[..., 6] = Y20 * (3 * z * z - 1)
    out[..., 7] = Y2 * x * z
    out[..., 8] = 0.5 * Y2 * (x * x - y * y)
    return out


def irradiance_over_pi(sh: ArrayLike, normals: ArrayLike) -> FloatArray:
    """Shade of a matte white surface: radiance `sh` [9,3] (or [9]), normals [...,3] -> [...,3] (or [...]).

    May dip a little below zero opposite a strong light (order 2 rings): clamp where it is a picture.
    """
    sh = _coefficients(sh)
    weighted = (sh.T * LAMBERT).T
    return (sh_basis(normals) @ weighted).astype(np.float32)


def sh_from_directional(direction: ArrayLike, rgb: ArrayLike) -> FloatArray:
    """Radiance [9,3] of a distant light whose irradiance/π on a facing surface is `rgb` [3] before truncation.

    A delta of weight π·rgb, so sh_lm = π rgb Y_lm(direction); order 2 shows 1.0625 rgb on the facing surface.
    """
    direction = np.asarray(direction, np.float64)
    rgb = np.asarray(rgb, np.float64)
    if direction.shape != (3,) or rgb.shape != (3,):
        raise ShapeError(f"direction and rgb have shape [3], got {direction.shape} and {rgb.shape}")
    length = float(np.linalg.norm(direction))
    if not np.isfinite(length) or length < 1e-9:
        raise ShapeError(f"direction has no length: {direction.tolist()}", "give a vector that points at the light")
    return (np.pi * sh_basis(direction / length)[:, None] * rgb).astype(np.float32)


def rotate_sh(sh: ArrayLike, rotation: ArrayLike) -> FloatArray:
    """Coefficients [9] or [9,3] of the environment turned by `rotation` [3,3]: what was seen at d is seen at R d.

    Exact. Band 1 is a vector, band 2 a symmetric traceless quadratic form M, so they turn as R v and R M Rᵀ:
    the block-diagonal real Wigner matrix without its table. Reflections are legal too (a mirrored picture).
    """
    sh = _coefficients(sh)
    r = np.asarray(rotation, np.float64)
    if r.shape != (3, 3):
        raise ShapeError(f"rotation has shape [3,3], got {r.shape}")
    if not np.allclose(r @ r.T, np.eye(3), atol=1e-4):
        raise ShapeError("rotation is not orthonormal", "R Rᵀ must be the identity")
    out = np.empty_like(sh)
    out[0] = sh[0]
    out[[3, 1, 2]] = r @ sh[[3, 1, 2]]
    m = np.einsum("ij...,ai,bj->ab...", _quadratic_form(sh[4:]), r, r)
    out[4] = 2 * m[0, 1] / Y2
    out[5] = 2 * m[1, 2] / Y2
    out[6] = m[2, 2] / (2 * Y20)
    out[7] = 2 * m[0, 2] / Y2
    out[8] = (m[0, 0] - m[1, 1]) / Y2
    return out.astype(np.float32)


def _quadratic_form(band2: NDArray[np.float64]) -> NDArray[np.float64]:
    """M [3,3,...] with nᵀ M n = Σ_m band2_m Y_2m(n) for unit n; symmetric, trace zero."""
    xy, yz, zz, xz, xx_yy = band2
    m = np.empty((3, 3, *band2.shape[1:]))
    m[0, 0] = -Y20 * zz + 0.5 * Y2 * xx_yy
    m[1, 1] = -Y20 * zz - 0.5 * Y2 * xx_yy
    m[2, 2] = 2 * Y20 * zz
    m[0, 1] = m[1, 0] = 0.5 * Y2 * xy
    m[1, 2] = m[2, 1] = 0.5 * Y2 * yz
    m[0, 2] = m[2, 0] = 0.5 * Y2 * xz
    return m


# Conversions. Both keep one invariant: the other project's shading of a surface equals our irradiance/π of it, so a
# shade of 1 stays a shade of 1. Sources and derivations: docs/lights.md.


def sh_from_deca(deca: ArrayLike) -> FloatArray:
    """Convert DECA's light code [9] or [9,3] to our radiance.

    DECA (Feng et al. 2021; decalib/utils/renderer.py, SRenderY.add_SHlight) orders 1, x, y, z, xy, xz, yz, x²-y²,
    3z²-1 on world normals (+x right, +y up, +z to the viewer, as ours) and multiplies by A_l Y, but by Y alone for
    l = 0: every factor but the first carries a π that A_l/π does not.
    """
    deca = _coefficients(deca)
    out = np.empty_like(deca)
    out[_DECA_FROM_OURS] = deca
    out[1:] *= np.pi
    return out.astype(np.float32)


def deca_from_sh(sh: ArrayLike) -> FloatArray:
    """Convert our radiance [9] or [9,3] to DECA's light code; the inverse of `sh_from_deca`."""
    out = _coefficients(sh).copy()
    out[1:] /= np.pi
    return out[_DECA_FROM_OURS].astype(np.float32)


# DPR looks along +y with z up: its (x, y, z) is our (x, -z, y).
_DPR_FROM_OURS = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def sh_from_dpr(dpr: ArrayLike) -> FloatArray:
    """Convert DPR's light [9] or [9,3] to our radiance.

    DPR (Zhou et al. 2019; utils/utils_SH.py, get_shading) has our order and basis and multiplies by A_l, π included,
    on axes x right, z up, y away from the viewer (testNetwork_demo_512.py). Its networks want the light times 0.7.
    """
    return rotate_sh(np.pi * _coefficients(dpr), _DPR_FROM_OURS.T)


def dpr_from_sh(sh: ArrayLike) -> FloatArray:
    """Convert our radiance [9] or [9,3] to DPR's light; the inverse of `sh_from_dpr`."""
    return rotate_sh(_coefficients(sh) / np.pi, _DPR_FROM_OURS)
