"""A portrait → what it is made of: the person with alpha and continued colours, the backdrop without the person, its light.

Made once a stream. Colours are continued by a membrane (engine.membrane): the person's beyond its contour, so that a
moved edge brings no wall with it, and the backdrop's behind the person, so that the place it leaves is filled.
`own_gain` is what the portrait's own light did to each cell; the avatar's light divides by it (engine.avatar).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.alpha import alpha_at, alpha_coefficients
from engine.membrane import solve_membrane
from engine.relight import ALPHA_LOW, ALPHA_RANGE
from lcvd.types import FloatArray

COARSE = 160
SURE_PERSON, SURE_WALL = 0.98, 0.02
GROWN_PX = 9  # the person's colour reaches this far beyond its alpha: lenses and JPEG blur
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
    wall = (cv2.dilate(alpha, _disc(GROWN_PX)) < SURE_WALL).astype(np.float32)
    backdrop = continued(seen, wall)
    # A mixed pixel of the person shows what is left once the wall's part is taken off; where that is little, a guess.
    sure = cv2.erode((alpha > SURE_PERSON).astype(np.float32), _disc(3))
    guess = continued(seen, sure)
    a = alpha[..., None]
    rest = (seen**2 - (1 - a) * backdrop**2) / np.maximum(a, 0.05)
    unmixed = np.sqrt(np.clip(rest, 0, 255**2))
    trust = np.clip((a - 0.3) / 0.4, 0, 1)
    person = np.where(sure[..., None] > 0, seen, guess + trust * (unmixed - guess))
    rgba = np.dstack([person, 255 * alpha])
    return PortraitLayers(np.clip(np.rint(rgba), 0, 255).astype(np.uint8), _bytes(backdrop), alpha)


def fine_alpha(rgb: NDArray[np.uint8], mask: FloatArray) -> FloatArray:
    """Alpha [H,W] with the picture's own edges (engine.alpha), as the ratio engine takes it."""
    height, width = rgb.shape[:2]
    scale = min(COARSE / max(height, width), 1.0)
    size = max(round(width * scale), 4), max(round(height * scale), 4)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    coarse = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
    coefficients = alpha_coefficients(small, np.asarray(coarse, np.float32))
    wide = np.dstack(
        [cv2.resize(coefficients[..., k : k + 4], (width, height), interpolation=cv2.INTER_LINEAR) for k in (0, 3)]
    )
    seven = np.ascontiguousarray(wide[..., [0, 1, 2, 3, 5, 6, 7]])
    alpha = alpha_at(seven, rgb.astype(np.float32) / 255)
    return np.clip((alpha - ALPHA_LOW) / ALPHA_RANGE, 0, 1).astype(np.float32)


def continued(rgb: FloatArray, known: FloatArray) -> FloatArray:
    """`rgb` [H,W,3] where `known` [H,W] is 1, continued smoothly where it is 0; grey where nothing is known."""
    weight = (KNOWN * known).astype(np.float32)
    if not weight.any():
        return np.full_like(rgb, 128)
    smooth = solve_membrane(np.ascontiguousarray(rgb * weight[..., None]), weight, sweeps=12)
    return np.where(known[..., None] > 0, rgb, smooth).astype(np.float32)


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _bytes(picture: FloatArray) -> NDArray[np.uint8]:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
