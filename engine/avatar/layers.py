"""A portrait is split into two layers, once per stream: the person with alpha, and the background without the person.

Both layers' colours are continued by a screened Poisson solve (engine.relighting.screened_poisson): the person's beyond
its contour, so that a moved edge carries nothing of the background along, and the background's behind the person, so
that the place the person leaves is filled.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.relighting.alpha import alpha_at, alpha_coefficients, coarse_size
from engine.relighting.runs import ALPHA_LOW, ALPHA_RANGE
from engine.relighting.screened_poisson import solve_screened_poisson
from lcvd.types import FloatArray

SURE_PERSON, SURE_BACKGROUND = 0.96, 0.02
BACKGROUND_PX, PERSON_PX = 7, 2  # distance from the edge from which each is known, since lenses and JPEG blur
STRAND_PX = 22  # loose strands of hair reach no further than this
MIRRORED_PX = 60.0  # distance over which mirrored detail fades, so that nothing recognisable appears twice
DETAIL_PX = 6.0  # structure finer than this is detail, and is mirrored
KNOWN = 50.0  # weight of known pixels against the smoothness term


@dataclass(frozen=True, slots=True, eq=False)
class PortraitLayers:
    """The two layers of a portrait; S is its side in pixels."""

    person: NDArray[np.uint8]  # [S,S,4] straight RGB, alpha
    background: NDArray[np.uint8]  # [S,S,3]
    alpha: FloatArray  # [S,S] of the person, in [0,1]


def portrait_layers(rgb: NDArray[np.uint8], mask: FloatArray) -> PortraitLayers:
    """Split `rgb` [S,S,3] by `mask` [h,w] in [0,1] of any size, 1 = person."""
    alpha = fine_alpha(rgb, mask)
    seen = rgb.astype(np.float32)
    background = cv2.dilate(alpha, _disc(BACKGROUND_PX)) < SURE_BACKGROUND
    sure = cv2.erode(alpha, _disc(PERSON_PX)) > SURE_PERSON
    # Nearly opaque pixels are shown as they are, and the rest of the edge is the person continued. Subtracting the
    # background's part from mixed pixels would turn every error of alpha into a halo.
    person = continued(seen, sure)
    keep = np.clip((alpha - 0.9) * 10, 0, 1)[..., None]
    rgba = np.dstack([person + keep * (seen - person), 255 * alpha])
    background &= ~_strands(seen, person, background)
    return PortraitLayers(_bytes(rgba), _bytes(continued(seen, background)), alpha)


def _strands(seen: FloatArray, person: FloatArray, background: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return [H,W], true for strands of hair that alpha missed, which would remain on the background as dots."""
    far = cv2.erode(background.astype(np.uint8), _disc(STRAND_PX)) > 0
    if not far.any():
        return np.zeros_like(background)
    weight = KNOWN * far.astype(np.float32)
    smooth = solve_screened_poisson(seen * weight[..., None], weight, sweeps=12)
    towards = person - smooth
    apart = (towards**2).sum(-1)
    share = ((seen - smooth) * towards).sum(-1) / np.maximum(apart, 1.0)
    like = (share > 0.35) & (apart > 40**2) & background & ~far
    return np.asarray(cv2.dilate(like.astype(np.uint8), _disc(2)) > 0)


def fine_alpha(rgb: NDArray[np.uint8], mask: FloatArray) -> FloatArray:
    """Return alpha [H,W] with the edges of `rgb` [H,W,3] (engine.relighting.alpha), given a coarse mask [h,w]."""
    height, width = rgb.shape[:2]
    size = coarse_size(height, width)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    small = np.asarray(small, np.float32) / np.float32(255)
    coarse = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
    coefficients = alpha_coefficients(np.asarray(small, np.float32), np.asarray(coarse, np.float32))
    wide = np.dstack(
        [cv2.resize(coefficients[..., k : k + 4], (width, height), interpolation=cv2.INTER_LINEAR) for k in (0, 3)]
    )
    seven = np.ascontiguousarray(wide[..., [0, 1, 2, 3, 5, 6, 7]], np.float32)
    alpha = alpha_at(seven, rgb.astype(np.float32) / np.float32(255))
    return np.clip((alpha - ALPHA_LOW) / ALPHA_RANGE, 0, 1).astype(np.float32)


def continued(rgb: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """Return `rgb` [H,W,3] unchanged where `known` [H,W] is true, and continued elsewhere; grey if nothing is known.

    Colour is continued by a screened Poisson solve, detail as the known side's mirror image in the nearest border.
    """
    if not known.any():
        return np.full_like(rgb, 128)
    if known.all():
        return rgb
    weight = KNOWN * known.astype(np.float32)
    smooth = solve_screened_poisson(rgb * weight[..., None], weight, sweeps=12)
    away, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    y, x = np.nonzero(known)
    nearest = np.zeros((int(labels.max()) + 1, 2), np.float32)
    nearest[labels[y, x]] = np.column_stack([x, y])
    grid = np.dstack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in rgb.shape[1::-1])))
    mirror = 2 * nearest[labels] - grid
    share = known.astype(np.float32)[..., None]
    total = np.maximum(cv2.GaussianBlur(share, (0, 0), DETAIL_PX), 1e-3)
    level = np.asarray(cv2.GaussianBlur(rgb * share, (0, 0), DETAIL_PX), np.float32) / total[..., None]
    at = np.clip(np.rint(mirror).astype(np.int32), 0, np.array(rgb.shape[1::-1]) - 1)
    # Detail is mirrored from known pixels inside the picture only.
    found = known[at[..., 1], at[..., 0]] & (np.abs(mirror - at) < 1).all(-1)
    fading = np.clip(1 - away / np.float32(MIRRORED_PX), 0, 1)
    filled = smooth + (rgb - level)[at[..., 1], at[..., 0]] * (fading * found)[..., None]
    return np.where(known[..., None], rgb, filled).astype(np.float32)


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _bytes(picture: FloatArray) -> NDArray[np.uint8]:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
