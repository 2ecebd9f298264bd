"""face_detail measures identity without a face network: the detail of the face that the light does not explain.

It is the log colour at the mesh's visible vertices minus its least-squares fit by the nine SH functions of the normal.
Any light of order 2, also a wrong one, is in the fit and is removed; brows, lips, eyes, beard and freckles remain. Two
faces are compared by the correlation of the rest. It needs exact vertices, which the renderer has. Another person's
paint on a head scores 0.40, the same head in another light 0.88 (docs/nano/ablation.md): not ArcFace's scale.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.face.geometry import picture_normals
from lcvd.lighting.colour import linear_from_srgb
from lcvd.lighting.sh import sh_basis
from lcvd.types import Face

FLOOR = 0.02  # added to linear values, which are mostly noise below it
PLAIN = 1e-6  # RMS detail below which only rounding is left
FACING = 0.2  # z of a normal from which a vertex is seen well enough


def face_detail(
    rgb: NDArray[np.uint8],  # [H,W,3]
    face: Face,
) -> NDArray[np.float64]:
    """Returns [V,3] log colour that no light explains; NaN at vertices that are not seen."""
    normals = picture_normals(face.vertices_px, face.mesh.triangles).astype(np.float64)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    seen = normals[:, 2] > FACING
    at = (face.vertices_px[:, None, :2] - 0.5).astype(np.float32)  # OpenCV counts from pixel centres
    linear = linear_from_srgb(rgb).astype(np.float32)
    colours = cv2.remap(linear, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
    log = np.log(colours[seen].astype(np.float64) + FLOOR)
    basis = sh_basis(normals[seen]).astype(np.float64)
    fit, *_ = np.linalg.lstsq(basis, log, rcond=None)
    detail = np.full((len(normals), 3), np.nan)
    detail[seen] = log - basis @ fit
    return detail


def correlation(
    a: NDArray[np.float64],  # [V,3]
    b: NDArray[np.float64],  # [V,3]
) -> float:
    """Returns the correlation of two details over the vertices both show; 0 where one has no detail."""
    both = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    x, y = a[both], b[both]
    if min(np.square(x).sum(), np.square(y).sum()) < PLAIN**2 * x.size:
        return 0.0
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))
