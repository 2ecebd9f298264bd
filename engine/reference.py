"""The reference of an avatar: a portrait, cut to the model's size, and what is known of its face and light."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import PortraitError
from lcvd.face.raster import rasterize
from lcvd.hints import render_hints
from lcvd.lighting.estimate import estimate_lighting
from lcvd.matting.portrait import portrait_mask
from lcvd.protocols import Matte, Rasterizer, Tracker
from lcvd.tracking.crop import Roi, crop
from lcvd.tracking.deca import DecaTracker
from lcvd.types import Face, FloatArray, Lighting

Rgb = NDArray[np.uint8]
FACES_HIGH = 2.6  # side of the square cut around a face, in heights of its mesh: head and shoulders, as LCVD saw them
REFERENCE_TRIES = 4  # a still is tracked a few times, so that the mesh settles


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The portrait, cut to the model's size, and what is known of it."""

    rgb: Rgb  # [S,S,3]
    face: Face
    lighting: Lighting  # the light it was taken in
    hint: Rgb  # [S,S,3] its own shading under that light
    mask: FloatArray  # [S,S], 1 = portrait


def square_around(face: Face, size: tuple[int, int]) -> Roi:
    """Head and shoulders around `face` in a picture of `size` = (height, width), inside it where it fits."""
    height, width = size
    low, high = face.vertices_px[:, :2].min(0), face.vertices_px[:, :2].max(0)
    side = min(FACES_HIGH * float(high[1] - low[1]), float(min(height, width)))
    x, y = (float(v) for v in (low + high) / 2)
    half = side / 2
    return Roi(min(max(x, half), width - half), min(max(y + 0.1 * side, half), height - half), side)


def make_reference(
    rgb: Rgb,
    size: int,
    tracker: Tracker,
    matte: Matte,
    square: Roi | None = None,
    rasterizer: Rasterizer = rasterize,
) -> Reference:
    """Find the face in `rgb` [H,W,3], cut `square` (else one around it) and learn its light.

    PortraitError without a face.
    """
    face = _settled(tracker, rgb)
    if face is None:
        raise PortraitError(
            f"no face was found in the reference of {rgb.shape[1]}×{rgb.shape[0]} px",
            "choose a portrait where one face is seen well from the front",
        )
    small = crop(rgb, square or square_around(face, (rgb.shape[0], rgb.shape[1])), size)
    face = _settled(tracker, small)
    if face is None:
        raise PortraitError("the face in the reference is too near its edge", "choose one with space around the head")
    # DECA estimates the light with the shape; for MediaPipe's mesh we estimate it from the skin.
    if isinstance(tracker, DecaTracker):
        lighting = Lighting("reference", (0.0, 0.0, 0.0), sh=tracker.light())
    else:
        lighting = estimate_lighting(small, face)
    hint = render_hints(face, lighting, (size, size), rasterizer).rgb
    return Reference(small, face, lighting, hint, portrait_mask(small, matte))


def _settled(tracker: Tracker, rgb: Rgb) -> Face | None:
    tracker.reset()
    face = None
    for index in range(REFERENCE_TRIES):
        face = tracker.track(rgb, index / 30)
    return face
