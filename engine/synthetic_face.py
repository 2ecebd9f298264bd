"""A Tracker and a Matte that need no networks: the neutral face in the middle, for warm-ups and benches."""

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


class StillFace:
    """Tracker (protocol) that always sees the centred face."""

    def __init__(self, nods: bool = False) -> None:
        self._nods = nods

    def track(self, rgb: NDArray[np.uint8], t_s: float) -> Face:
        """The face in a picture [H,W,3], whatever it shows."""
        height, width = rgb.shape[:2]
        face = centred_face((height, width), t_s)
        if not self._nods:
            return face
        angle = NOD_RAD * math.sin(2 * math.pi * NOD_HZ * t_s)
        c, s = math.cos(angle), math.sin(angle)
        return replace(face, rotation=np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32))

    def reset(self) -> None: ...

    def close(self) -> None: ...


def whole_picture(rgb: NDArray[np.uint8]) -> FloatArray:
    """Matte (protocol) [H,W] that takes everything for the person."""
    return np.ones(rgb.shape[:2], np.float32)
