"""A coarse person mask and the picture give alpha as a local linear function of colour, sharp at the hair.

Near the contour the person's colour F and the background's B are local means over the cells where the mask is certain.
A pixel's alpha is its position between them, α = (rgb − B)·(F − B) / |F − B|², drawn toward the mask as far as both
colours scatter (least squares; a one-Gaussian case of Chuang et al., "A Bayesian Approach to Digital Matting", CVPR
2001). Alpha is linear in rgb, so its smooth coefficients can be upsampled and applied to the full picture, whose own
edges come back. The ratio F/B per channel lets a mixed pixel be relit as the mixture it is.
"""

import cv2
import numba
import numpy as np

from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.types import FloatArray

SIDE = 160  # cells on the long side of the coarse alpha: four pixels a cell at 640
NEAR, FAR = 4, 12  # radii in cells of the local means, and of the wider ones that help where the near ones are empty
FAR_SHARE = 0.02
SURE = 0.08  # the mask is taken as certain this close to 0 and 1
NOISE = 2e-3  # scatter that is always assumed, squared code values
BAND = 5  # cells around the contour in which colour decides
RATIO_MAX = 8.0


def coarse_size(height: int, width: int) -> tuple[int, int]:
    """Return the size (width, height) at which alpha is computed for a picture of `height` × `width` px."""
    scale = min(SIDE / max(height, width), 1.0)
    return max(round(width * scale), 4), max(round(height * scale), 4)


def alpha_coefficients(rgb: FloatArray, mask: FloatArray) -> FloatArray:
    """Return [H,W,7] = (a_r, a_g, a_b, b, ratio RGB) for `rgb` [H,W,3] and `mask` [H,W], both in [0,1].

    α = clip(a·rgb + b, 0, 1). The ratio is the person's light over the background's there, and 1 off the contour.
    """
    # cv2.blur takes 0.2 ms for three fields of at most four channels, and 0.4 ms for one field of ten.
    front, back = np.empty((2, *mask.shape, 4), np.float32)
    squares = np.empty((*mask.shape, 2), np.float32)
    soft = cv2.blur(mask, (3, 3), borderType=cv2.BORDER_REPLICATE)
    _moments(rgb, soft, front, back, squares)
    coefficients = np.empty((*mask.shape, 7), np.float32)
    _solve(_means(front), _means(back), _means(squares), mask, _box(mask, BAND), coefficients)
    return _box(coefficients, 1)


def alpha_at(coefficients: FloatArray, rgb: FloatArray) -> FloatArray:
    """Apply `coefficients` [H,W,7] to `rgb` [H,W,3] in [0,1]: alpha [H,W] in [0,1]."""
    out = np.empty(rgb.shape[:2], np.float32)
    evaluate(coefficients, rgb, out)
    return out


def mean_within(rgb: FloatArray, alpha: FloatArray, radius: int = 4) -> FloatArray:
    """Return the local mean [H,W] of squared luma of `rgb` [H,W,3], weighted by `alpha` [H,W]; `radius` is in cells."""
    layers = np.empty((*alpha.shape, 2), np.float32)
    _weigh(rgb, alpha, layers)
    layers = _box(layers, radius)
    return (layers[..., 0] / np.maximum(layers[..., 1], np.float32(1e-2))).astype(np.float32, copy=False)


def _means(moments: FloatArray) -> FloatArray:
    return _box(moments, NEAR) + np.float32(FAR_SHARE) * _box(moments, FAR)


def _box(field: FloatArray, radius: int) -> FloatArray:
    side = (2 * radius + 1, 2 * radius + 1)
    return cv2.blur(field, side, borderType=cv2.BORDER_REFLECT)  # type: ignore[return-value]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _moments(rgb, mask, front, back, squares):  # type: ignore[no-untyped-def]
    """Write weight, weighted colour and weighted square of the certain person and of the certain background."""
    one, zero, sure = np.float32(1.0), np.float32(0.0), np.float32(SURE)
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            r, g, b, m = rgb[i, j, 0], rgb[i, j, 1], rgb[i, j, 2], mask[i, j]
            square = r * r + g * g + b * b
            f = max(m - (one - sure), zero) / sure
            w = max(sure - m, zero) / sure
            front[i, j, 0], front[i, j, 1], front[i, j, 2], front[i, j, 3] = f, f * r, f * g, f * b
            back[i, j, 0], back[i, j, 1], back[i, j, 2], back[i, j, 3] = w, w * r, w * g, w * b
            squares[i, j, 0], squares[i, j, 1] = f * square, w * square


@numba.njit(nogil=True, fastmath=True, error_model="numpy", inline="always")
def _ratio(front, back):  # type: ignore[no-untyped-def]
    floor = np.float32(0.005)
    ratio = (front * front + floor) / (back * back + floor)
    return min(max(ratio, np.float32(1 / RATIO_MAX)), np.float32(RATIO_MAX))


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _solve(front, back, squares, mask, wide, out):  # type: ignore[no-untyped-def]
    one, zero, tiny = np.float32(1.0), np.float32(0.0), np.float32(1e-5)
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            # `near` is 1 on the contour and BAND/2 around it, 0 where the window is all person or all background.
            inside = wide[i, j]
            near = min(max(min(inside, one - inside) * np.float32(8.0) - np.float32(0.2), zero), one)
            wf, wb = front[i, j, 0], back[i, j, 0]
            near *= min(min(wf, wb) * np.float32(2e4), one)
            if near <= zero:
                out[i, j, 0] = out[i, j, 1] = out[i, j, 2] = zero
                out[i, j, 3] = mask[i, j]
                out[i, j, 4] = out[i, j, 5] = out[i, j, 6] = one
                continue
            nf, nb = one / (wf + tiny), one / (wb + tiny)
            fr, fg, fb = front[i, j, 1] * nf, front[i, j, 2] * nf, front[i, j, 3] * nf
            br, bg, bb = back[i, j, 1] * nb, back[i, j, 2] * nb, back[i, j, 3] * nb
            scatter = max(squares[i, j, 0] * nf - fr * fr - fg * fg - fb * fb, zero)
            scatter += max(squares[i, j, 1] * nb - br * br - bg * bg - bb * bb, zero)
            dr, dg, db = fr - br, fg - bg, fb - bb
            # Where the two scatter about as far as they lie apart, as knitwear before water, colour cannot tell them
            # apart and the mask decides.
            apart = dr * dr + dg * dg + db * db
            overlap = scatter / (apart + np.float32(NOISE))
            noise = scatter * min(max(np.float32(4.0) * overlap, np.float32(0.3)), np.float32(6.0)) + np.float32(NOISE)
            inverse = near / (apart + noise)
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = dr * inverse, dg * inverse, db * inverse
            out[i, j, 3] = (noise * mask[i, j] - br * dr - bg * dg - bb * db) * inverse + (one - near) * mask[i, j]
            out[i, j, 4] = one + near * (_ratio(fr, br) - one)
            out[i, j, 5] = one + near * (_ratio(fg, bg) - one)
            out[i, j, 6] = one + near * (_ratio(fb, bb) - one)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def evaluate(coefficients, rgb, out):  # type: ignore[no-untyped-def]
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
            luma = np.float32(LUMA_R) * r * r + np.float32(LUMA_G) * g * g + np.float32(LUMA_B) * b * b
            out[i, j, 0], out[i, j, 1] = a * luma, a
