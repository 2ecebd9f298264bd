"""An avatar's reference is a portrait, cropped to the model's size, with its face, light, hint and mask."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.errors import PortraitError
from lcvd.face.raster import rasterize
from lcvd.hints import render_hints
from lcvd.lighting.estimate import estimate_lighting
from lcvd.lighting.lighting import interpolate, scaled, sh_projection
from lcvd.matting.portrait import portrait_mask
from lcvd.protocols import Matte, Rasterizer, Tracker
from lcvd.tracking.crop import Roi, crop
from lcvd.tracking.deca import DecaTracker
from lcvd.types import MAX_DIRECTIONALS, Face, FloatArray, Lighting

Rgb = NDArray[np.uint8]
FACES_HIGH = 2.6  # side of the square around a face in heights of its mesh: head and shoulders, as LCVD was trained on
REFERENCE_TRIES = 4  # a portrait is tracked a few times, so that the tracker's filters settle


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A portrait, cropped to the model's size S, and what was estimated from it."""

    rgb: Rgb  # [S,S,3]
    face: Face
    lighting: Lighting  # the light in the portrait
    hint: Rgb  # [S,S,3] the face's shading under that light
    mask: FloatArray  # [S,S], 1 = person


def square_around(face: Face, size: tuple[int, int]) -> Roi:
    """Return the square of head and shoulders around `face`, moved inside a picture of `size` = (height, width)."""
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
    """Find the face in `rgb` [H,W,3], crop `square`, or else one around the face, to `size` px and estimate its light.

    Raises PortraitError where no face is found, or where it is too near the edge; LightError where the light cannot be
    estimated.
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
    # DECA estimates the light with the shape; for other trackers it is estimated from the skin.
    if isinstance(tracker, DecaTracker):
        lighting = Lighting("reference", (0.0, 0.0, 0.0), sh=tracker.light())
    else:
        lighting = estimate_lighting(small, face)
    hint = render_hints(face, lighting, (size, size), rasterizer).rgb
    return Reference(small, face, lighting, hint, portrait_mask(small, matte))


def mixed_lighting(own: Lighting, wanted: Lighting, strength: float) -> Lighting:
    """Mix the portrait's `own` light with the `wanted` one: 0 gives `own`, 1 `wanted`, between them a weighted sum.

    Shading is linear in light, so a surface shows (1 - strength) · own + strength · wanted, cast shadows aside. Lights
    do not travel as they do in `lcvd.lighting.lighting.interpolate`, which is for changes in time: half-way from a
    light on the left to one on the right both shine, and none stands in the middle. Of more than four directional
    lights the last of `own` are kept as their SH projection, which is all that hints show of them.
    """
    own, wanted = replace(own, strength=1.0), replace(wanted, strength=1.0)
    if strength <= 0 or strength >= 1:
        return wanted if strength >= 1 else own
    own = _with_lights(own, MAX_DIRECTIONALS - len(wanted.directionals))
    lights = (*scaled(wanted, strength).directionals, *scaled(own, 1 - strength).directionals)
    rest = interpolate(replace(own, directionals=()), replace(wanted, directionals=()), strength)
    return replace(rest, directionals=lights)


def _with_lights(lighting: Lighting, most: int) -> Lighting:
    """`lighting` with at most so many directional lights, the others in its SH."""
    kept, folded = lighting.directionals[:most], lighting.directionals[most:]
    if not folded:
        return lighting
    sh = sh_projection(replace(lighting, ambient_rgb=(0.0, 0.0, 0.0), directionals=folded))
    return replace(lighting, directionals=kept, sh=sh)


def _settled(tracker: Tracker, rgb: Rgb) -> Face | None:
    """Return the face in `rgb` after REFERENCE_TRIES passes of the tracker, None without one."""
    tracker.reset()
    face = None
    for index in range(REFERENCE_TRIES):
        face = tracker.track(rgb, index / 30)
    return face
