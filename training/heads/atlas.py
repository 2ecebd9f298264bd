"""One picture holds every painted surface of a head: named patches, and the canonical point behind each texel.

The head's skin is painted by place, not by patch: `canvas()` gives the point in canonical cm behind every texel of the
two patches of the head (face: unrolled about the vertical; skull: a disc, its rim the face's outline, its centre the
back of the head), so that what is painted there crosses the seam unseen.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.raster import interpolate, rasterize
from lcvd.types import FloatArray

HEIGHT, WIDTH = 288, 384
SIDE = 160  # 8.6 texels a cm: as fine as the samples of a 128 px picture


@dataclass(frozen=True, slots=True)
class Patch:
    """A rectangle of the atlas, in texels."""

    top: int
    left: int
    height: int
    width: int

    def uv(self, u: ArrayLike, v: ArrayLike) -> FloatArray:
        """u right, v down, in [0,1] -> atlas coordinates [...,2] where a texel's centre is a whole number."""
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
TRUNK = Patch(SIDE, 0, 128, 256)
HOOD = Patch(SIDE, 256, 128, 128)
HEAD = Patch(0, 0, SIDE, 2 * SIDE)  # face and skull, side by side


class Canvas(NamedTuple):
    """Where the texels of HEAD lie on the average head."""

    points: FloatArray  # [H,W,3] canonical cm
    azimuth: FloatArray  # [H,W] about the vertical through the skull's centre, 0 = front, ±π = back
    polar: FloatArray  # [H,W] angle from straight up, seen from the skull's centre


def face_uv(points: FloatArray) -> FloatArray:
    """Canonical points [V,3] of the face -> atlas coordinates [V,2]."""
    angle = np.arctan2(points[:, 0], points[:, 2] + 5.0)
    return FACE.uv(0.5 + angle / 2.6, (9.0 - points[:, 1]) / 18.5)


@cache
def canvas() -> Canvas:
    """Read-only, computed once from the canonical face."""
    from training.heads.bust import SKULL_CENTRE, average_bust  # bust lays its uv with this file's patches

    bust = average_bust()
    points = np.empty((HEAD.height, HEAD.width, 3), np.float32)
    for patch, triangles in ((FACE, bust.face_triangles), (SKULL, bust.skull_triangles)):
        at = np.column_stack((bust.uv - (patch.left, patch.top) + 0.5, np.zeros(len(bust.uv)))).astype(np.float32)
        raster = rasterize(at, triangles, (patch.height, patch.width))
        drawn = raster.triangle >= 0
        place = interpolate(raster, triangles, bust.rest)
        points[:, patch.left : patch.left + patch.width] = place[nearest(drawn)]
    out = points - np.asarray(SKULL_CENTRE, np.float32)
    azimuth = np.arctan2(out[..., 0], out[..., 2])
    polar = np.arccos(np.clip(out[..., 1] / np.linalg.norm(out, axis=-1), -1, 1))
    for array in (points, azimuth, polar):
        array.setflags(write=False)
    return Canvas(points, azimuth, polar)


def nearest(filled: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns [H,W] of the nearest True: indexing with them bleeds colours past their border."""
    _, labels = cv2.distanceTransformWithLabels(
        (~filled).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, cols = np.nonzero(filled)
    row_of, col_of = np.zeros(labels.max() + 1, np.intp), np.zeros(labels.max() + 1, np.intp)
    row_of[labels[rows, cols]], col_of[labels[rows, cols]] = rows, cols
    return row_of[labels], col_of[labels]


def around(noise: FloatArray, turns: float = 1.0) -> FloatArray:
    """A field [h,w] over (polar, azimuth) laid on the head: float32 [H,W]; `turns` squeezes it sideways."""
    place = canvas()
    x = (place.azimuth / (2 * np.pi) + 0.5) * (noise.shape[1] - 1) * turns
    y = place.polar / np.pi * (noise.shape[0] - 1)
    return cv2.remap(noise, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT)  # type: ignore[return-value]
