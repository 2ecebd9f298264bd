"""Face + Lighting → Hints: the shading picture LCVD expects, the only hint code there is (live, offline, training).

A uniform grey of 180/255 under the light's SH projection (order 2, irradiance/π), on the mesh's skin: eyes, mouth
interior and everything outside the face stay black, and so does what turns away from the viewer. No gamma: shade is
written as it is, as DECA renders it (Feng et al. 2021, Eq. 5). Knows nothing of pixels of the frame but its size.
"""

import numpy as np

from lcvd.errors import ShapeError
from lcvd.geometry import picture_normals
from lcvd.lighting import sh_projection
from lcvd.raster import MAX_SIDE_PX, interpolate, rasterize
from lcvd.sh import irradiance_over_pi
from lcvd.types import Face, Hints, Lighting

ALBEDO = 180 / 255
MIN_FACING = 0.0  # z of the interpolated unit normal


def render_hints(face: Face, lighting: Lighting, size: tuple[int, int]) -> Hints:
    """The hint of `face` (vertices in pixels of the frame) at `size` = (height, width) of that frame.

    Raises ShapeError where the size is impossible.
    """
    height, width = size
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise ShapeError(f"size (height, width) = {size}", f"both sides must be in 1…{MAX_SIDE_PX}")
    rgb = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), bool)
    box = _box(face, size)
    if box is None:
        return Hints(rgb, mask)
    top, bottom, left, right = box
    vertices = face.vertices_px - np.array([left, top, 0], np.float32)
    # All triangles are drawn, so that the eyes and the mouth also hide what lies behind them.
    raster = rasterize(vertices, face.mesh.triangles, (bottom - top, right - left))
    normals = interpolate(raster, face.mesh.triangles, picture_normals(face.vertices_px, face.mesh.triangles))
    skin = raster.triangle >= 0
    skin[skin] = face.mesh.skin_triangles[raster.triangle[skin]]
    length = np.linalg.norm(normals, axis=-1)
    skin &= normals[..., 2] > MIN_FACING * length
    n = normals[skin] / np.maximum(length[skin], 1e-6)[:, None]
    shade = irradiance_over_pi(sh_projection(lighting), n)
    rgb[top:bottom, left:right][skin] = np.clip(255 * ALBEDO * shade + 0.5, 0, 255).astype(np.uint8)
    mask[top:bottom, left:right] = skin
    return Hints(rgb, mask)


def _box(face: Face, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The face's box within the frame (top, bottom, left, right), or None: only there is anything to draw."""
    low = np.floor(np.clip(face.vertices_px[:, :2].min(0), -1, MAX_SIDE_PX)).astype(int)
    high = np.ceil(np.clip(face.vertices_px[:, :2].max(0), -1, MAX_SIDE_PX)).astype(int) + 1
    top, left = max(int(low[1]), 0), max(int(low[0]), 0)
    bottom, right = min(int(high[1]), size[0]), min(int(high[0]), size[1])
    return (top, bottom, left, right) if top < bottom and left < right else None
