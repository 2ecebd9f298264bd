"""The driver's teeth and tongue fill the portrait's open mouth, matched to the brightness of the portrait's skin.

A portrait with closed lips shows no mouth interior, and its lips would be stretched over the opening. The opening is
mapped triangle by triangle from the driver's, so nothing else of the driver's face is copied.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.avatar.motion import LOWER_LIP, UPPER_LIP
from engine.avatar.warp import remap
from lcvd.face.raster import interpolate, rasterize
from lcvd.lighting.colour import LUMA
from lcvd.types import Face, FloatArray

CHEEKS = (50, 101, 36, 205, 280, 330, 266, 425)
CORNERS = (78, 308)
OPENS_CM, OPEN_CM = 0.15, 0.40  # gap of the inner lips at which the driver's mouth begins to show, and shows fully
MATCH_LIMITS = (0.5, 2.0)
MATCH_S = 0.5
FEATHER_FW = 0.012
DEPTH_GAIN = 0.85  # the inside of a mouth is a little darker than the shading of the lips


class Mouth:
    """Draws the driver's mouth into one portrait; knows the portrait's own lip gap and the brightness of its skin."""

    def __init__(self, reference: Face, portrait_rgb: NDArray[np.uint8]) -> None:
        inner = np.array([*UPPER_LIP, *LOWER_LIP, *CORNERS])
        mesh = reference.mesh
        self._triangles = np.ascontiguousarray(mesh.triangles[np.isin(mesh.triangles, inner).all(1)])
        self._inner = inner
        self._own_cm = gap_cm(reference.identity + reference.expression)
        self._skin = skin_level(portrait_rgb, reference)
        self._match = np.ones(3, np.float32)
        self._t_s: float | None = None

    def match(self, rgb: NDArray[np.uint8], driver: Face) -> FloatArray:
        """Return the factor [3] on squared code values from the driver's skin to the portrait's, smoothed over time."""
        ratio = self._skin / np.maximum(skin_level(rgb, driver), 1e-3)
        level = float(np.clip(ratio @ LUMA, *MATCH_LIMITS))
        # Teeth are whiter than skin and would take too much of the tint, so half of it is used.
        ratio = (level * np.sqrt(ratio / max(float(ratio @ LUMA), 1e-3))).astype(np.float32)
        keep = 0.0 if self._t_s is None else np.exp(-max(driver.t_s - self._t_s, 0.0) / MATCH_S)
        self._t_s = driver.t_s
        self._match = (ratio + np.float32(keep) * (self._match - ratio)).astype(np.float32)
        return self._match

    def amount(self, face: Face) -> float:
        """Return the opacity in [0,1] of the driver's mouth; 0 while the portrait's own opening suffices."""
        wider = gap_cm(face.identity + face.expression) - 1.25 * self._own_cm
        u = min(max((wider - OPENS_CM) / (OPEN_CM - OPENS_CM), 0.0), 1.0)
        return u * u * (3 - 2 * u)

    def paint(
        self,
        person: NDArray[np.uint8],  # [S,S,4], written in place
        face: Face,
        rgb: NDArray[np.uint8],
        driver: Face,
        match: FloatArray,
        amount: float,
    ) -> None:
        """Draw the mouth of `driver` in `rgb` [H,W,3] into `person`, where `face` is the moved portrait's.

        `match` is the result of `match`, `amount` that of `amount`.
        """
        size = person.shape[0]
        feather = max(FEATHER_FW * face.width_px, 0.7)
        margin = int(3 * feather) + 2
        at = face.vertices_px[self._inner, :2]
        left, top = np.maximum(np.floor(at.min(0)).astype(int) - margin, 0)
        right, bottom = np.minimum(np.ceil(at.max(0)).astype(int) + margin, size)
        if right - left < 4 or bottom - top < 4:
            return
        vertices = face.vertices_px - np.array([left, top, 0], np.float32)
        raster = rasterize(vertices, self._triangles, (int(bottom - top), int(right - left)))
        uv_map = interpolate(raster, self._triangles, driver.vertices_px[:, :2])
        inside = raster.triangle >= 0
        if not inside.any():
            return
        seen = remap(rgb, uv_map)
        soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), feather)
        # The edge is blurred inward only, so the lips stay sharp and untouched.
        alpha = np.clip(2 * soft - 1, 0, 1) * np.float32(amount)
        inner = np.sqrt(seen.astype(np.float32) ** 2 * match * np.float32(DEPTH_GAIN))
        place = person[top:bottom, left:right, :3]
        place[:] = np.clip(place + alpha[..., None] * (inner - place) + 0.5, 0, 255).astype(np.uint8)


def gap_cm(shape: FloatArray) -> float:
    """Return the largest gap in cm between the inner lips of a canonical shape [V,3]."""
    return float(np.maximum(shape[list(UPPER_LIP), 1] - shape[list(LOWER_LIP), 1], 0).max())


def skin_level(rgb: NDArray[np.uint8], face: Face) -> FloatArray:
    """Return the median squared code value [3] in [0,1] of the cheeks; ones where no cheek is in the picture."""
    at = face.vertices_px[list(CHEEKS), :2]
    radius = max(round(0.03 * face.width_px), 1)
    found = []
    for x, y in at.astype(int):
        patch = rgb[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
        if patch.size and x >= 0 and y >= 0:
            found.append(patch.reshape(-1, 3).mean(0))
    if not found:
        return np.ones(3, np.float32)
    return ((np.median(found, axis=0) / 255) ** 2).astype(np.float32)
