"""A Lighting gives the background a gain: its value at the picture's centre and its change toward right and top.

The background is kept, dimmed or lit as Background says. A lit one takes the shading of a wall under the light. A
dimmed one keeps its level and takes a share of the light's colour and direction that grows with the dimming, so that
the room seems to stand in the same light as the person. The gain is a continuous function of `background_terms`, which
are continuous in a light transition, so no transition between two modes jumps.
"""

from functools import lru_cache

import numpy as np

from engine.relighting.shading import GAMMA_POWER
from lcvd.lighting.colour import LUMA
from lcvd.lighting.lighting import background_terms, shading
from lcvd.types import FloatArray, Lighting

TINT = 0.35  # share of the light's colour and direction that a background dimmed by TINTED_AT or more takes
TINTED_AT = 0.25
GAIN_MIN, GAIN_MAX = 0.2, 1.6
# Normals of a wall at the left, right, bottom, top and centre of the picture; the first four turn 40° outward.
_SIDE = 0.64
_WALL = np.array([[-_SIDE, 0, 0.77], [_SIDE, 0, 0.77], [0, -_SIDE, 0.77], [0, _SIDE, 0.77], [0, 0, 1]], np.float32)


@lru_cache(maxsize=64)  # the same for every frame while nobody changes the light
def background_gain(lighting: Lighting, amount: float) -> FloatArray:
    """Return the gain [3,3] of squared code values: rows are centre, change to the right, change to the top.

    `amount` in [0,1] fades between nothing (gain 1) and the whole effect.
    """
    constant, lit = background_terms(lighting.background)
    shade = shading(lighting, _WALL).astype(np.float64)
    level = max(float(shade.mean(0) @ LUMA), 1e-3)
    tint = TINT * min(max((1 - constant) / TINTED_AT, 0.0), 1.0)
    gain = constant * (1 + tint * (shade / level - 1)) + lit * shade
    gain = 1 + amount * (np.clip(gain, GAIN_MIN, GAIN_MAX) ** GAMMA_POWER - 1)
    left, right, below, above, centre = gain
    return np.stack([centre, (right - left) / 2, (above - below) / 2]).astype(np.float32)
