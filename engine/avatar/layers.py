"""A portrait → what it is made of: the person with alpha and continued colours, and the backdrop without the person.

Made once a stream. Colours are continued by a membrane (engine.relighting.membrane): the person's beyond its contour,
so that a moved edge brings no wall with it, and the backdrop's behind the person, so that the place it leaves is
filled. `own_gain` is what the portrait's own light did to each cell; the avatar's light divides by it
(engine.avatar.engine).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.relighting.alpha import alpha_at, alpha_coefficients
from engine.relighting.apply import ALPHA_LOW, ALPHA_RANGE
from engine.relighting.membrane import solve_membrane
from lcvd.types import FloatArray

COARSE = 160
SURE_PERSON, SURE_WALL = 0.96, 0.02
WALL_PX, PERSON_PX = 7, 2  # so far from the edge each is known: lenses and JPEG blur
STRAY_PX = 22  # strands stray no further than this
MIRRORED_PX = 60.0  # by then it has faded: nothing recognisable may stand there twice
DETAIL_PX = 6.0  # what is finer is detail, and is mirrored
KNOWN = 50.0  # weight of what is seen against the membrane's stiffness


@dataclass(frozen=True, slots=True, eq=False)
class PortraitLayers:
    """S is the portrait's side in pixels."""

    person: NDArray[np.uint8]  # [S,S,4] straight RGB, alpha
    backdrop: NDArray[np.uint8]  # [S,S,3]
    alpha: FloatArray  # [S,S] of the person, in [0,1]


def portrait_layers(rgb: NDArray[np.uint8], mask: FloatArray) -> PortraitLayers:
    """`rgb` [S,S,3], `mask` [h,w] in [0,1] of any size, 1 = person."""
    alpha = fine_alpha(rgb, mask)
    seen = rgb.astype(np.float32)
    wall = cv2.dilate(alpha, _disc(WALL_PX)) < SURE_WALL
    sure = cv2.erode(alpha, _disc(PERSON_PX)) > SURE_PERSON
    # What is nearly person is shown as it is; the rest of the edge is the person continued, for taking the wall's part
    # off mixed pixels turns every error of alpha into a halo.
    person = continued(seen, sure)
    keep = np.clip((alpha - 0.9) * 10, 0, 1)[..., None]
    rgba = np.dstack([person + keep * (seen - person), 255 * alpha])
    wall &= ~_strays(seen, person, wall)
    return PortraitLayers(_bytes(rgba), _bytes(continued(seen, wall)), alpha)


def _strays(seen: FloatArray, person: FloatArray, wall: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[H,W] what looks like the person's hair although alpha calls it wall: left standing it would dot the backdrop."""
    far = cv2.erode(wall.astype(np.uint8), _disc(STRAY_PX)) > 0
    if not far.any():
        return np.zeros_like(wall)
    weight = KNOWN * far.astype(np.float32)
    smooth = solve_membrane(seen * weight[..., None], weight, sweeps=12)
    towards = person - smooth
    apart = (towards**2).sum(-1)
    share = ((seen - smooth) * towards).sum(-1) / np.maximum(apart, 1.0)
    like = (share > 0.35) & (apart > 40**2) & wall & ~far
    return np.asarray(cv2.dilate(like.astype(np.uint8), _disc(2)) > 0)


def fine_alpha(rgb: NDArray[np.uint8], mask: FloatArray) -> FloatArray:
    """Alpha [H,W] with the picture's own edges (engine.relighting.alpha), as the ratio engine takes it."""
    height, width = rgb.shape[:2]
    scale = min(COARSE / max(height, width), 1.0)
    size = max(round(width * scale), 4), max(round(height * scale), 4)
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
    """`rgb` [H,W,3] where it is `known` [H,W], continued where it is not; grey where nothing is known.

    Colour goes on as a membrane, detail as the known side's mirror image in the nearest border.
    """
    if not known.any():
        return np.full_like(rgb, 128)
    if known.all():
        return rgb
    weight = KNOWN * known.astype(np.float32)
    smooth = solve_membrane(rgb * weight[..., None], weight, sweeps=12)
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
    # Nothing is mirrored from the unknown, nor from beyond the picture.
    found = known[at[..., 1], at[..., 0]] & (np.abs(mirror - at) < 1).all(-1)
    fading = np.clip(1 - away / np.float32(MIRRORED_PX), 0, 1)
    filled = smooth + (rgb - level)[at[..., 1], at[..., 0]] * (fading * found)[..., None]
    return np.where(known[..., None], rgb, filled).astype(np.float32)


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _bytes(picture: FloatArray) -> NDArray[np.uint8]:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
