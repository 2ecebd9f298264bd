"""This module paints skin on the head's canvas: tone, blotches, freckles, lips, brows, lashes, nostrils.

Paint is linear albedo. Tones run from very pale to very dark along plausible sRGB anchors; everything else is relative
to the tone, so that no feature is drawn for one kind of skin only. Polygons follow the mesh's own regions, so paint
moves with the face.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.face.geometry import face_mesh
from lcvd.lighting.colour import linear_from_srgb
from lcvd.types import FloatArray
from training.heads import atlas
from training.heads.canvas import around, canvas
from training.heads.expression import LIDS
from training.heads.noise import mix, ramp, smooth_noise

# From pale to dark, sRGB.
TONES = np.array(
    [(236, 200, 180), (226, 180, 154), (208, 156, 126), (190, 134, 102), (160, 108, 78), (124, 80, 58), (92, 58, 43),
     (76, 49, 38)], np.float32
)  # fmt: skip
EXPOSED = 0.82  # leaves a face under shade 1 the headroom that a camera's exposure leaves
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
NOSTRILS = ((-0.75, -1.55), (0.75, -1.55))  # x, y canonical cm


@dataclass(frozen=True, slots=True, eq=False)
class Skin:
    """Describes one person's skin."""

    tone: FloatArray  # [3] linear albedo
    lips: FloatArray  # [3]
    flush: float  # redness of cheeks and nose
    blotches: float
    freckles: float
    age: float  # 0 smooth … 1 lined


def random_skin(rng: np.random.Generator) -> Skin:
    """Draws a skin uniformly over the whole range of tones."""
    at = rng.uniform(0, len(TONES) - 1)
    below = min(int(at), len(TONES) - 2)
    srgb = TONES[below] + (at - below) * (TONES[below + 1] - TONES[below]) + rng.normal(0, 5, 3)
    tone = EXPOSED * linear_from_srgb((srgb / 255).astype(np.float32))
    lips = tone * np.array([0.92, 0.55, 0.6], np.float32) ** rng.uniform(0.3, 1.5)
    if rng.random() < 0.15:  # lipstick
        lips = 0.4 * tone + 0.6 * np.array([0.42, 0.03, 0.07], np.float32) * rng.uniform(0.5, 1.2)
    fair = float(ramp(at, 4.5, 1.0))
    return Skin(
        tone=tone.astype(np.float32),
        lips=lips.astype(np.float32),
        flush=float(rng.uniform(0, 1)),
        blotches=float(rng.uniform(0.02, 0.07)),
        freckles=float(fair * rng.uniform(0.4, 1) * (rng.random() < 0.3)),
        age=float(rng.beta(1.2, 2)),
    )


class Fields(NamedTuple):
    """Holds where features lie, the same on every head: [H,W] of the canvas or [SIDE,SIDE] of its face."""

    blush: FloatArray
    shut: FloatArray  # light lost in eye sockets, beside the nose, under the lip, which the hint does not show
    lined: FloatArray  # loss that age adds
    wrinkled: FloatArray  # loss that high age adds
    freckled: FloatArray
    lips: FloatArray
    brows: FloatArray
    lashes: FloatArray  # 0…1 factor


@cache
def fields() -> Fields:
    """Paints the fields on the average head once; regions of the mesh give the polygons."""
    points = canvas().points
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    side = np.abs(x)
    front = ramp(z, 1.0, 3.5)

    def spot(at_x: float, at_y: float, wide: float, high: float) -> FloatArray:
        return (np.exp(-0.5 * (((side - at_x) / wide) ** 2 + ((y - at_y) / high) ** 2)) * front).astype(np.float32)

    shut = 0.16 * spot(2.2, 2.7, 1.5, 0.8) + 0.16 * spot(2.3, -1.4, 0.5, 0.8) + 0.14 * spot(0, -4.9, 1.8, 0.4)
    for nx, ny in NOSTRILS:
        hole = np.exp(-0.5 * (((x - nx) / 0.36) ** 2 + ((y - ny) / 0.2) ** 2)) * ramp(z, 4.5, 5.2)
        shut = np.maximum(shut, 0.75 * hole.astype(np.float32))
    fold = np.exp(-0.5 * ((side - 2.4 - 0.28 * (-1.2 - y)) / 0.22) ** 2) * ramp(y, -4.6, -3.6) * ramp(y, -0.6, -1.6)
    wrinkle = np.exp(-0.5 * ((np.mod(y - 0.12 * side, 0.95) - 0.47) / 0.12) ** 2)
    lashes = np.ones((atlas.SIDE, atlas.SIDE), np.float32)
    for upper, lower in LIDS:
        lashes *= (1 - 0.72 * _line(upper, 0.7)) * (1 - 0.25 * _line(lower, 0.8))
    return Fields(
        blush=spot(4.0, -0.6, 1.5, 1.3) + np.float32(0.7) * spot(0, -0.7, 1.0, 0.9),
        shut=shut,
        lined=0.3 * fold.astype(np.float32) * front + np.float32(0.22) * spot(3.1, 1.55, 1.1, 0.22),
        wrinkled=0.16 * wrinkle.astype(np.float32) * ramp(y, 4.6, 5.2) * ramp(side, 4.5, 3) * front,
        freckled=(np.exp(-0.5 * ((y - 0.4) / 2.2) ** 2) * front).astype(np.float32),
        lips=0.85 * _polygon(OUTER_LIPS, 1.1),
        brows=np.maximum(*(_polygon(points, 1.3) for points in BROWS)),
        lashes=lashes,
    )


def paint_skin(rng: np.random.Generator, skin: Skin, brow: FloatArray, brow_weight: float) -> FloatArray:
    """Paints a bare head, linear albedo [SIDE, 2·SIDE, 3]; `brow` [3] is the colour of its brows."""
    field = fields()
    grey = 1 - field.shut - skin.age * field.lined - max(skin.age - 0.4, 0) * field.wrinkled
    grey *= 1 + skin.blotches * around(smooth_noise(rng, (48, 96), (7, 14)))
    image: FloatArray = grey[..., None] * skin.tone
    image *= 1 - (skin.flush * field.blush)[..., None] * np.array([0.02, 0.2, 0.16], np.float32)
    if skin.freckles > 0:
        spots = ramp(around(smooth_noise(rng, (256, 512), (70, 140))), 1.35, 1.8)
        image *= 1 - (0.45 * skin.freckles * spots * field.freckled)[..., None] * np.array([0.5, 0.8, 1.0], np.float32)
    face = image[:, : atlas.SIDE]
    face[:] = mix(face, skin.lips, field.lips)
    hairs = 0.75 + 0.25 * np.clip(smooth_noise(rng, (atlas.SIDE, atlas.SIDE), (20, 80)), -1, 1)
    face[:] = mix(face, brow, np.clip(brow_weight * hairs * field.brows, 0, 1))
    face *= field.lashes[..., None]
    return image


def _texels(vertices: tuple[int, ...]) -> np.ndarray:
    uv = atlas.face_uv(face_mesh().neutral[list(vertices)])
    return np.round(uv * 16).astype(np.int32)


def _polygon(vertices: tuple[int, ...], blur: float) -> FloatArray:
    """Returns the coverage [SIDE,SIDE] of a region of the face."""
    drawn = np.zeros((atlas.SIDE, atlas.SIDE), np.uint8)
    cv2.fillPoly(drawn, [_texels(vertices)], (255,), cv2.LINE_AA, shift=4)
    return _softened(drawn, blur)


def _line(vertices: tuple[int, ...], blur: float) -> FloatArray:
    drawn = np.zeros((atlas.SIDE, atlas.SIDE), np.uint8)
    cv2.polylines(drawn, [_texels(vertices)], False, (255,), 1, cv2.LINE_AA, shift=4)
    return _softened(drawn, blur)


def _softened(drawn: NDArray[np.uint8], blur: float) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), blur), np.float32) / np.float32(255)
