"""This module tells the light's colour from the skin's: what of a face's colour no skin has must be the light's.

Colours are compared as tints, logarithms without their mean. Skin in white light lies near a line from pale to brown;
a warm light moves it along that line and a dim or a coloured one off it. Only what lies off the line, or beyond its
ends, by more than people and cameras differ is taken for light, so that no skin is made paler or greyer than it is.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.lighting.colour import LUMA, linear_from_srgb

# Tones 1 and 7 of the Monk Skin Tone scale (E. Monk, "The Monk Skin Tone Scale", 2023), sRGB. Tones 8 to 10 are darker
# but no browner: they lie between these two.
PALE, BROWN = np.array([0xF6, 0xED, 0xE4], np.uint8), np.array([0x82, 0x5C, 0x43], np.uint8)
DEAD = 0.2  # people and cameras' white balance differ by so much, beside the line


def log_tint(rgb: ArrayLike) -> NDArray[np.float64]:
    """Return the log of linear RGB [3] less its mean: hue and saturation. A channel counts from 3 % of the mean."""
    rgb = np.asarray(rgb, np.float64)
    log = np.log(np.maximum(rgb, 0.03 * max(float(rgb.mean()), 1e-9)))
    centred: NDArray[np.float64] = log - log.mean()
    return centred


def soft_threshold(tint: NDArray[np.float64], dead: float) -> NDArray[np.float64]:
    """Return `tint` shortened by `dead`, at most to zero."""
    length = float(np.linalg.norm(tint))
    return tint * max(0.0, 1 - dead / max(length, 1e-9))


_PALE, _BROWN = log_tint(linear_from_srgb(PALE)), log_tint(linear_from_srgb(BROWN))


def light_tint(skin: ArrayLike) -> NDArray[np.float64]:
    """Return the log tint [3] of the light on skin of linear RGB [3]: the part of its colour that no skin has."""
    tint, line = log_tint(skin), _BROWN - _PALE
    along = float(np.clip((tint - _PALE) @ line / (line @ line), 0, 1))
    return soft_threshold(tint - (_PALE + along * line), DEAD)


def tint_colour(tint: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the linear RGB [3] of a log tint [3], of luminance 1."""
    colour = np.exp(tint)
    out: NDArray[np.float64] = colour / (colour @ LUMA)
    return out
