"""Face + Lighting → Hints: the shading picture LCVD expects. Live, offline and training runs share this code.

A uniform grey of 180/255 under the light's SH projection (order 2, irradiance/π), on the mesh's skin: eyes, mouth
interior and everything outside the face stay black, and so does what turns away from the viewer. No gamma: shade is
written as it is, as DECA renders it (Feng et al. 2021, Eq. 5). A FLAME mesh is drawn exactly as LCVD's release draws
it, by DECA's renderer; see `STYLES`. Only the size of the frame is used, none of its pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.face.geometry import picture_normals
from lcvd.face.raster import MAX_SIDE_PX, interpolate, rasterize
from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.sh import irradiance_over_pi
from lcvd.protocols import Rasterizer
from lcvd.types import Face, FloatArray, Hints, HintStyle, Lighting, MeshTopology

ALBEDO = 180 / 255


@dataclass(frozen=True, slots=True)
class Style:
    """A Style holds the drawing rules that a mesh's `hint_style` selects."""

    skin_alone: bool  # only skin is drawn and makes normals; else the other triangles occlude skin behind them
    unit_normals: bool  # interpolated normals are made unit again
    min_facing: float  # z of the interpolated normal above which a pixel is drawn
    rounding: float  # added before the code value is cut to a whole one


STYLES: dict[HintStyle, Style] = {
    "solid": Style(skin_alone=False, unit_normals=True, min_facing=0.0, rounding=0.5),
    # decalib/utils/renderer.py: add_SHlight takes the normals as interpolated; render_shape keeps z < 0.15 of normals
    # whose z points away from the viewer.
    "deca": Style(skin_alone=True, unit_normals=False, min_facing=-0.15, rounding=0.0),
}


def render_hints(face: Face, lighting: Lighting, size: tuple[int, int], rasterizer: Rasterizer = rasterize) -> Hints:
    """Draw the hint of `face` (vertices in pixels of the frame) at `size` = (height, width) of that frame.

    `rasterizer`: ours, or that of `lcvd.face.raster_pytorch3d.make_rasterizer()`. Raises ShapeError for an impossible
    size.
    """
    height, width = size
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise ShapeError(f"size (height, width) = {size}", f"both sides must be in 1…{MAX_SIDE_PX}")
    rgb = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), bool)
    style = STYLES[face.mesh.hint_style]
    triangles, is_skin = _drawn(face.mesh, style)
    box = _box(face, size)
    if box is None:
        return Hints(rgb, mask)
    top, bottom, left, right = box
    vertices = face.vertices_px - np.array([left, top, 0], np.float32)
    raster = rasterizer(vertices, triangles, (bottom - top, right - left))
    normals = interpolate(raster, triangles, picture_normals(face.vertices_px, triangles))
    skin = raster.triangle >= 0
    skin[skin] = is_skin[raster.triangle[skin]]
    if style.unit_normals:
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    skin &= normals[..., 2] > style.min_facing
    shade: FloatArray = irradiance_over_pi(sh_projection(lighting), normals[skin])
    rgb[top:bottom, left:right][skin] = np.clip(255 * ALBEDO * shade + style.rounding, 0, 255).astype(np.uint8)
    mask[top:bottom, left:right] = skin
    return Hints(rgb, mask)


def _drawn(mesh: MeshTopology, style: Style) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the triangles to draw [M,3] and a mask [M] of those that are skin."""
    if not style.skin_alone:
        return mesh.triangles, mesh.skin_triangles
    triangles = np.ascontiguousarray(mesh.triangles[mesh.skin_triangles])
    return triangles, np.ones(len(triangles), bool)


def _box(face: Face, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Bounding box of the face within the frame (top, bottom, left, right), or None where they do not overlap."""
    low = np.floor(np.clip(face.vertices_px[:, :2].min(0), -1, MAX_SIDE_PX)).astype(int)
    high = np.ceil(np.clip(face.vertices_px[:, :2].max(0), -1, MAX_SIDE_PX)).astype(int) + 1
    top, left = max(int(low[1]), 0), max(int(low[0]), 0)
    bottom, right = min(int(high[1]), size[0]), min(int(high[0]), size[1])
    return (top, bottom, left, right) if top < bottom and left < right else None
