"""Lighting → what happens behind the person: a gain at the picture's centre and its change toward right and top.

Kept, dimmed or lit as Background says. A lit wall takes the scene's shade; a dimmed one keeps its level and takes a
share of the light's colour and side, the more the more it is dimmed, so that the room seems to stand in the same light
as the person. Everything follows from `background_terms`, which glide: no mode is asked, so no glide jumps.
"""

import numpy as np

from engine.relighting.shading import GAMMA_POWER
from lcvd.lighting.lighting import LUMA, background_terms, shading
from lcvd.types import FloatArray, Lighting

TINT = 0.35  # of the light's colour and side, on a background dimmed by TINTED_AT or more
TINTED_AT = 0.25
GAIN_MIN, GAIN_MAX = 0.2, 1.6
# What a wall left, right, below, above and behind the centre "sees": turned 40° toward the picture's middle from there.
_SIDE = 0.64
_WALL = np.array([[-_SIDE, 0, 0.77], [_SIDE, 0, 0.77], [0, -_SIDE, 0.77], [0, _SIDE, 0.77], [0, 0, 1]], np.float32)


def backdrop_gain(lighting: Lighting, amount: float) -> FloatArray:
    """[3,3]: rows centre, change to the right edge, change to the top edge; columns RGB; of squared code values."""
    constant, lit = background_terms(lighting.background)
    shade = shading(lighting, _WALL).astype(np.float64)
    level = max(float(shade.mean(0) @ LUMA), 1e-3)
    tint = TINT * min(max((1 - constant) / TINTED_AT, 0.0), 1.0)
    gain = constant * (1 + tint * (shade / level - 1)) + lit * shade
    gain = 1 + amount * (np.clip(gain, GAIN_MIN, GAIN_MAX) ** GAMMA_POWER - 1)
    left, right, below, above, centre = gain
    return np.stack([centre, (right - left) / 2, (above - below) / 2]).astype(np.float32)
