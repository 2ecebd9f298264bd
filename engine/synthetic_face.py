"""A Tracker and a Matte that need no networks see the neutral face in the middle; warm-ups and benches use them."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lcvd.face.neutral import centred_face
from lcvd.types import DirectionalLight, Face, FloatArray, Lighting

NOD_RAD, NOD_HZ = 0.15, 0.4
WARMUP_LIGHT = Lighting(
    "warm-up", (0.3, 0.3, 0.3), (DirectionalLight((-0.6, 0.4, 0.69), (1, 1, 1), 0.2, 0.7),), specular=0.3
)


class SyntheticFace:
    """Implements the Tracker protocol: the centred face in every frame, nodding where `nods` is true."""

    def __init__(self, nods: bool = False) -> None:
        self._nods = nods

    def track(self, rgb: NDArray[np.uint8], t_s: float) -> Face:
        """Return the centred face for a picture [H,W,3], whatever it shows."""
        height, width = rgb.shape[:2]
        face = centred_face((height, width), t_s)
        if not self._nods:
            return face
        angle = NOD_RAD * math.sin(2 * math.pi * NOD_HZ * t_s)
        c, s = math.cos(angle), math.sin(angle)
        return replace(face, rotation=np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32))

    def reset(self) -> None:
        """Do nothing: nothing is kept between frames."""

    def close(self) -> None:
        """Do nothing: nothing is held."""


def full_mask(rgb: NDArray[np.uint8]) -> FloatArray:
    """Return a mask [H,W] of ones for `rgb` [H,W,3]: a Matte (protocol) that takes everything for the person."""
    return np.ones(rgb.shape[:2], np.float32)
