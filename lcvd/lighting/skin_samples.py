"""Samples colours and normals of visible bare skin from a photo and its Face, for the estimation of light.

The mesh is rasterised over the face at about 160 px, so hidden skin (the cheek behind the nose) is left out and each
sample stands for an equal area of the picture.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.errors import ShapeError
from lcvd.face.geometry import picture_normals
from lcvd.face.raster import interpolate, rasterize
from lcvd.lighting.colour import linear_from_srgb
from lcvd.types import Face, FloatArray

MAX_SAMPLES = 1200
GRID_PX = 160  # the face's longer side while sampling
# A beard darkens a third of the face, more than robust weights bear: below the mouth a sample counts this much.
BEARD_WEIGHT = 0.2


class SkinSamples(NamedTuple):
    """Samples of visible skin, one row each."""

    rgb: FloatArray  # [N,3] linear
    normals: FloatArray  # [N,3] unit, y up
    weights: FloatArray  # [N] in (0,1]: how surely it is bare skin


def skin_samples(rgb: NDArray[np.uint8], face: Face, skin_mask: ArrayLike | None = None) -> SkinSamples:
    """Sample linear colour and normal of visible skin, without lips, eyes, brows, the grazing rim and hidden parts.

    rgb uint8 [H,W,3]; skin_mask [H,W], where nonzero, may narrow it further. At most MAX_SAMPLES, evenly spread.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ShapeError(f"rgb is uint8 [H,W,3], got {rgb.dtype} {rgb.shape}")
    vertices = np.asarray(face.vertices_px, np.float32)
    low = np.floor(vertices[:, :2].min(0)).astype(int)
    extent = np.ptp(vertices[:, :2], axis=0)
    scale = GRID_PX / max(float(extent.max()), 1.0)
    width, height = (max(1, int(np.ceil(side * scale))) for side in extent)
    # Grid pixel j looks at picture x = low + (j + 0.5)/scale; OpenCV counts from pixel centres.
    offset = low + 0.5 / scale - 0.5
    picture_from_grid = np.array([[1 / scale, 0, offset[0]], [0, 1 / scale, offset[1]]])
    source = cv2.GaussianBlur(rgb, (0, 0), 0.5 / scale) if scale < 1 else rgb
    patch = _sampled(source, picture_from_grid, (height, width), cv2.INTER_LINEAR)
    mask = np.ones(rgb.shape[:2], np.uint8) if skin_mask is None else (np.asarray(skin_mask) > 0).astype(np.uint8)
    if mask.shape != rgb.shape[:2]:
        raise ShapeError(f"skin_mask has shape {rgb.shape[:2]}, got {mask.shape}")
    inside = _sampled(mask, picture_from_grid, (height, width), cv2.INTER_NEAREST)
    on_grid = vertices.copy()
    on_grid[:, :2] -= low
    on_grid *= scale
    raster = rasterize(on_grid, face.mesh.triangles, (height, width))
    attributes = np.column_stack([picture_normals(vertices, face.mesh.triangles), _bareness(face)])
    drawn = interpolate(raster, face.mesh.triangles, attributes)
    normals, weights = drawn[..., :3], drawn[..., 3]
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    good = np.append(_plain_skin(face), False)[raster.triangle] & (normals[..., 2] > 0.2) & (inside > 0)
    linear = linear_from_srgb(patch[good])
    step = max(1, -(-len(linear) // MAX_SAMPLES))
    return SkinSamples(linear[::step], normals[good][::step], weights[good][::step])


def _sampled(image: NDArray, picture_from_grid: NDArray, size: tuple[int, int], how: int) -> NDArray:
    """`image` on the grid of `size` (height, width); zero outside the picture."""
    sampled: NDArray = cv2.warpAffine(image, picture_from_grid, size[::-1], flags=cv2.WARP_INVERSE_MAP | how)
    return sampled


def _bareness(face: Face) -> FloatArray:
    """[V] 1 above the mouth, BEARD_WEIGHT below, blended over 1 cm of the neutral face."""
    mouth_y = float(face.mesh.neutral[face.mesh.regions["lips"], 1].mean())
    t = np.clip(face.mesh.neutral[:, 1] - mouth_y + 0.5, 0, 1)
    return (BEARD_WEIGHT + (1 - BEARD_WEIGHT) * t).astype(np.float32)


def _plain_skin(face: Face) -> NDArray[np.bool_]:
    """[M] triangles of bare skin: no vertex on lips, brows, eyes or the outline (hair and beard begin there)."""
    regions = face.mesh.regions
    unlike = [
        regions[k] for k in ("lips", "left_eye", "right_eye", "left_brow", "right_brow", "face_oval") if k in regions
    ]
    marked = np.zeros(len(face.vertices_px), bool)
    marked[np.concatenate(unlike)] = True
    plain: NDArray[np.bool_] = face.mesh.skin_triangles & ~marked[face.mesh.triangles].any(1)
    return plain
