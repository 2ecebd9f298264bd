"""Coarse person mask + the picture → alpha as a local linear function of colour: α(x) = a(x)·rgb(x) + b(x).

He et al., "Guided Image Filtering" (TPAMI 2013), Eq. 19–20 (colour guide, so that hair parts from a background of the
same luma), at the coarse size of "Fast Guided Filter" (2015): a and b are smooth and are upsampled; the picture's own
edges come back when they are applied at full size. The slow twin lives in tests/engine/test_guided.py.
"""

import cv2
import numba
import numpy as np

from lcvd.types import FloatArray

RADIUS = 2
EPS = 4e-4


def alpha_coefficients(rgb: FloatArray, mask: FloatArray, radius: int = RADIUS, eps: float = EPS) -> FloatArray:
    """`rgb` [H,W,3] and `mask` [H,W], both in [0,1] and of one size → [H,W,4] = (a_r, a_g, a_b, b)."""
    moments = np.empty((*mask.shape, 13), np.float32)
    _moments(rgb, mask, moments)
    means = _box(moments, radius)
    coefficients = np.empty((*mask.shape, 4), np.float32)
    _solve(means, np.float32(eps), coefficients)
    return _box(coefficients, radius)


def alpha_at(coefficients: FloatArray, rgb: FloatArray) -> FloatArray:
    """Apply [H,W,4] to [H,W,3] of the same size → alpha [H,W] in [0,1]."""
    out = np.empty(rgb.shape[:2], np.float32)
    _apply(coefficients, rgb, out)
    return out


def mean_within(rgb: FloatArray, alpha: FloatArray, radius: int = 4) -> FloatArray:
    """Local mean of the squared luma of what alpha holds: [H,W]."""
    layers = np.empty((*alpha.shape, 2), np.float32)
    _weigh(rgb, alpha, layers)
    layers = _box(layers, radius)
    return layers[..., 0] / np.maximum(layers[..., 1], np.float32(1e-2))


def _box(field: FloatArray, radius: int) -> FloatArray:
    side = (2 * radius + 1, 2 * radius + 1)
    return cv2.blur(field, side, borderType=cv2.BORDER_REFLECT)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _moments(rgb, mask, out):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            r, g, b, p = rgb[i, j, 0], rgb[i, j, 1], rgb[i, j, 2], mask[i, j]
            out[i, j, 0], out[i, j, 1], out[i, j, 2], out[i, j, 3] = r, g, b, p
            out[i, j, 4], out[i, j, 5], out[i, j, 6] = r * p, g * p, b * p
            out[i, j, 7], out[i, j, 8], out[i, j, 9] = r * r, r * g, r * b
            out[i, j, 10], out[i, j, 11], out[i, j, 12] = g * g, g * b, b * b


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _solve(m, eps, out):  # type: ignore[no-untyped-def]
    """a = (Σ + εI)⁻¹ cov(rgb, p), b = mean(p) − a·mean(rgb), by the adjugate of the symmetric 3×3."""
    for i in range(m.shape[0]):
        for j in range(m.shape[1]):
            r, g, b, p = m[i, j, 0], m[i, j, 1], m[i, j, 2], m[i, j, 3]
            cr, cg, cb = m[i, j, 4] - r * p, m[i, j, 5] - g * p, m[i, j, 6] - b * p
            rr, gg, bb = m[i, j, 7] - r * r + eps, m[i, j, 10] - g * g + eps, m[i, j, 12] - b * b + eps
            rg, rb, gb = m[i, j, 8] - r * g, m[i, j, 9] - r * b, m[i, j, 11] - g * b
            irr, irg, irb = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
            igg, igb, ibb = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
            inverse = np.float32(1.0) / max(rr * irr + rg * irg + rb * irb, np.float32(1e-12))
            ar = (irr * cr + irg * cg + irb * cb) * inverse
            ag = (irg * cr + igg * cg + igb * cb) * inverse
            ab = (irb * cr + igb * cg + ibb * cb) * inverse
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = ar, ag, ab
            out[i, j, 3] = p - ar * r - ag * g - ab * b


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _apply(coefficients, rgb, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            c = coefficients[i, j]
            a = c[0] * rgb[i, j, 0] + c[1] * rgb[i, j, 1] + c[2] * rgb[i, j, 2] + c[3]
            out[i, j] = min(max(a, np.float32(0.0)), np.float32(1.0))


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _weigh(rgb, alpha, out):  # type: ignore[no-untyped-def]
    for i in range(alpha.shape[0]):
        for j in range(alpha.shape[1]):
            r, g, b, a = rgb[i, j, 0], rgb[i, j, 1], rgb[i, j, 2], alpha[i, j]
            luma = np.float32(0.2126) * r * r + np.float32(0.7152) * g * g + np.float32(0.0722) * b * b
            out[i, j, 0], out[i, j, 1] = a * luma, a
