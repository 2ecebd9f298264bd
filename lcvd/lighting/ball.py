"""Light balls: a satin sphere under a light, for galleries and `relight lights --sheet`.

It renders a Lighting as RGBA without needing a face. The shade is `lcvd.lighting.lighting.shading`; the specular term
is Blinn-Phong with Schlick's Fresnel, which no engine uses, and the sphere casts no shadow.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.lighting.colour import srgb_from_linear
from lcvd.lighting.lighting import shading
from lcvd.lighting.sh import irradiance_over_pi
from lcvd.types import FloatArray, Lighting

ALBEDO = np.array([0.56, 0.49, 0.45], np.float32)  # warm clay: shows tints without being a colour of its own
SUPERSAMPLE = 3
SHININESS = 38.0
MAX_SIZE_PX = 2048


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def lighting(self) -> Lighting: ...


def render_ball(lighting: Lighting, size_px: int) -> NDArray[np.uint8]:
    """Render sRGB and straight alpha, uint8 [size,size,4]; the sphere touches the border. Strength is ignored.

    Raises ShapeError for a size outside 8 to 2048.
    """
    if not 8 <= size_px <= MAX_SIZE_PX:
        raise ShapeError(f"size_px: {size_px}", f"8 to {MAX_SIZE_PX} pixels")
    n = size_px * SUPERSAMPLE
    axis = (np.arange(n, dtype=np.float32) + 0.5) * (2 / n) - 1
    x, y = np.meshgrid(axis, -axis)
    r2 = x * x + y * y
    inside = r2 <= 1
    normals = np.stack([x, y, np.sqrt(np.maximum(1 - r2, 0))], -1)
    # Outside, normals of the rim: the average over a border pixel then keeps the sphere's colour.
    normals[~inside] /= np.sqrt(r2[~inside])[:, None]
    linear = _tone(ALBEDO * shading(lighting, normals) + _specular(lighting, normals))
    rgb = cv2.resize(linear, (size_px, size_px), interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(inside.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_AREA)
    out = np.empty((size_px, size_px, 4), np.uint8)
    out[..., :3] = np.rint(255 * srgb_from_linear(rgb))
    out[..., 3] = np.rint(255 * alpha)
    return out


def _specular(lighting: Lighting, normals: FloatArray) -> FloatArray:
    """Specular radiance toward the viewer, [...,3]: a lobe per directional light, and a faint mirrored environment."""
    out = np.zeros(normals.shape, np.float32)
    view = np.array([0, 0, 1], np.float32)
    fresnel = 0.04 + 0.96 * (1 - np.clip(normals[..., 2], 0, 1)) ** 5
    for directional in lighting.directionals:
        direction = np.asarray(directional.direction, np.float32)
        half = direction + view
        length = float(np.linalg.norm(half))
        if length < 1e-3:
            continue
        half /= length
        # A larger source mirrors as a larger, dimmer spot: the lobe's energy is about constant in exponent + 2.
        shininess = SHININESS * (1 - 0.8 * directional.wrap)
        lobe = (shininess + 2) / (SHININESS + 2) * np.maximum(normals @ half, 0) ** shininess
        facing = np.clip(4 * (normals @ direction), 0, 1)
        grazing = 0.04 + 0.96 * (1 - max(float(direction @ half), 0.0)) ** 5
        strength = (0.3 + lighting.specular) * (0.5 + 2.5 * min(grazing, 0.2))
        out += (strength * lobe * facing)[..., None] * np.asarray(directional.rgb, np.float32)
    mirrored = 2 * normals[..., 2:] * normals - view
    room = np.asarray(lighting.ambient_rgb, np.float32)
    if lighting.sh is not None:
        room = room + np.maximum(irradiance_over_pi(lighting.sh, mirrored), 0)
    return out + 0.25 * fresnel[..., None] * room


def _tone(linear: FloatArray) -> FloatArray:
    """Compress values above 0.7 with a soft shoulder, so that highlights keep their colour."""
    knee = 0.7
    over = np.maximum(linear - knee, 0)
    return np.minimum(linear, knee) + (1 - knee) * (1 - np.exp(-over / (1 - knee)))


def render_sheet(entries: Sequence[_Named] | Iterable[_Named], ball_px: int = 176, columns: int = 5) -> bytes:
    """Render a PNG contact sheet: a ball with title and name below for each entry, in order, on charcoal."""
    entries = list(entries)
    if not entries:
        raise ShapeError("a sheet of no lights", "give at least one")
    pad, label = ball_px // 8, ball_px * 3 // 10
    cell_w, cell_h = ball_px + 2 * pad, ball_px + label + 2 * pad
    columns = min(columns, len(entries))
    rows = -(-len(entries) // columns)
    sheet = np.full((rows * cell_h + pad, columns * cell_w, 3), (24, 25, 28), np.uint8)
    for i, entry in enumerate(entries):
        top, left = (i // columns) * cell_h + pad, (i % columns) * cell_w + pad
        ball = render_ball(entry.lighting, ball_px)
        alpha = ball[..., 3:].astype(np.float32) / 255
        tile = sheet[top : top + ball_px, left : left + ball_px]
        tile[:] = np.rint(alpha * ball[..., :3] + (1 - alpha) * tile)
        scale = ball_px / 176
        _centred(sheet, entry.title, left + ball_px // 2, top + ball_px + int(24 * scale), 0.5 * scale, (236, 236, 238))
        _centred(sheet, entry.name, left + ball_px // 2, top + ball_px + int(43 * scale), 0.4 * scale, (140, 142, 150))
    ok, png = cv2.imencode(".png", sheet[..., ::-1])
    if not ok:
        raise ShapeError("the sheet could not be encoded as PNG", "try smaller balls")
    return png.tobytes()


def _centred(image: NDArray[np.uint8], text: str, x: int, y: int, scale: float, rgb: tuple[int, int, int]) -> None:
    """Draw text centred on x with baseline y."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    cv2.putText(image, text, (x - width // 2, y), cv2.FONT_HERSHEY_SIMPLEX, scale, rgb, 1, cv2.LINE_AA)
