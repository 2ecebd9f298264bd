"""The canvas gives the canonical point behind every texel of the head's part of the atlas, on the average head.

Skin and hair are painted by place, not by patch, so that paint crosses the border of face and skull without a seam.
"""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.face.raster import interpolate, rasterize
from lcvd.types import FloatArray
from training.heads import atlas
from training.heads.bust import average_bust
from training.heads.skull import SKULL_CENTRE


class Canvas(NamedTuple):
    """Holds the positions of the texels of HEAD on the average head."""

    points: FloatArray  # [H,W,3] canonical cm
    azimuth: FloatArray  # [H,W] about the vertical through the skull's centre, 0 = front, ±π = back
    polar: FloatArray  # [H,W] angle from straight up, seen from the skull's centre


@cache
def canvas() -> Canvas:
    """Returns read-only arrays, computed once from the canonical face."""
    bust = average_bust()
    points = np.empty((atlas.HEAD.height, atlas.HEAD.width, 3), np.float32)
    for patch, triangles in ((atlas.FACE, bust.face_triangles), (atlas.SKULL, bust.skull_triangles)):
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
    """Returns rows and columns [H,W] of the nearest True; indexing with them extends colours past their border."""
    _, labels = cv2.distanceTransformWithLabels(
        (~filled).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, cols = np.nonzero(filled)
    row_of, col_of = np.zeros(labels.max() + 1, np.intp), np.zeros(labels.max() + 1, np.intp)
    row_of[labels[rows, cols]], col_of[labels[rows, cols]] = rows, cols
    return row_of[labels], col_of[labels]


def around(noise: FloatArray, turns: float = 1.0) -> FloatArray:
    """Lays a field [h,w] over (polar, azimuth) on the head: float32 [H,W]; `turns` squeezes it sideways."""
    place = canvas()
    x = (place.azimuth / (2 * np.pi) + 0.5) * (noise.shape[1] - 1) * turns
    y = place.polar / np.pi * (noise.shape[0] - 1)
    return cv2.remap(noise, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT)  # type: ignore[return-value]
