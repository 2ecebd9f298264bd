"""The atlas is one texture that holds every painted surface of a head in named patches.

The face is unrolled about the vertical; the skull is a disc whose rim is the face's outline and whose centre is the
back of the head; the trunk is unrolled over its rings, hanging hair over its rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lcvd.types import FloatArray

HEIGHT, WIDTH = 256, 384
SIDE = 160  # 8.6 texels a cm: as fine as the samples of a 128 px picture


@dataclass(frozen=True, slots=True)
class Patch:
    """Describes a rectangle of the atlas, in texels."""

    top: int
    left: int
    height: int
    width: int

    def uv(self, u: ArrayLike, v: ArrayLike) -> FloatArray:
        """Maps u (right) and v (down) in [0,1] to atlas coordinates [...,2]; a texel's centre is a whole number."""
        across, down = np.asarray(u), np.asarray(v)
        return np.stack([self.left + across * (self.width - 1), self.top + down * (self.height - 1)], -1).astype(
            np.float32
        )

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


FACE = Patch(0, 0, SIDE, SIDE)
SKULL = Patch(0, SIDE, SIDE, SIDE)
EYE = Patch(0, 2 * SIDE, 64, 64)
MOUTH = Patch(64, 2 * SIDE, 32, 64)
EAR = Patch(96, 2 * SIDE, 48, 64)
TRUNK = Patch(SIDE, 0, 96, 192)
HOOD = Patch(SIDE, 192, 96, 128)
HEAD = Patch(0, 0, SIDE, 2 * SIDE)  # face and skull, side by side


def face_uv(points: FloatArray) -> FloatArray:
    """Returns atlas coordinates [V,2] of canonical points [V,3] of the face."""
    angle = np.arctan2(points[:, 0], points[:, 2] + 5.0)
    return FACE.uv(0.5 + angle / 2.6, (9.0 - points[:, 1]) / 18.5)
