"""surface_samples turns rendered frames into what the network is given and what it is to say.

The input is what the engine has at that point, from its own tracker, mask network and surface; only the pictures are
rendered. A frame in which the tracker finds no face is left out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.relighting.alpha import alpha_at, alpha_coefficients, coarse_size
from engine.relighting.grid import grid_around
from engine.relighting.surface import person_surface
from engine.surface.crop import SIDE, SurfaceCrop, crop_around
from lcvd.matting.selfie import SelfieMatte
from lcvd.protocols import Matte, Tracker
from lcvd.tracking.mesh import MeshTracker
from lcvd.types import FloatArray
from training.heads.scanned.clip import ScannedFrame, scanned_stills
from training.heads.scanned.facekit import FaceKit

ROOMS = 3  # of each person
MIN_LIGHT = 0.004  # of the face's mean: darker is black
WITHIN = 3  # of the truth's pixels a side are averaged for one of the square's, as the picture's are


class SurfaceSample(NamedTuple):
    """Holds one example, SIDE × SIDE px."""

    rgb: NDArray[np.uint8]  # [S,S,3]
    mesh: NDArray[np.int8]  # [S,S,3] the engine's own normals · 127
    mask: NDArray[np.uint8]  # [S,S] the engine's alpha · 255
    normal: NDArray[np.int8]  # [S,S,3] true normals · 127
    light: NDArray[np.float16]  # [S,S,3] log of the light that falls there, over its mean on the face
    part: NDArray[np.uint8]  # [S,S] training.heads.scanned.parts.Part, 255 outside the person
    cover: NDArray[np.uint8]  # [S,S] true coverage · 255


class Maker:
    """Makes samples; it holds the tracker and the mask network."""

    def __init__(self, tracker: Tracker | None = None, matte: Matte | None = None) -> None:
        self._tracker = tracker or MeshTracker(smoothing=None)
        self._matte = matte or SelfieMatte()

    def sample(self, frame: ScannedFrame) -> SurfaceSample | None:
        """Returns the sample of a frame, or None where no face is found."""
        self._tracker.reset()
        face = self._tracker.track(frame.rgb, 0.0)
        if face is None:
            return None
        small = cv2.resize(frame.rgb, coarse_size(*frame.rgb.shape[:2]), interpolation=cv2.INTER_AREA)
        bright: FloatArray = small.astype(np.float32) / np.float32(255)
        mask = cv2.resize(self._matte(frame.rgb), bright.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        alpha = alpha_at(alpha_coefficients(bright, np.asarray(mask, np.float32)), bright)
        grid = grid_around(face, frame.rgb.shape[:2])
        on_grid = grid.sample(alpha)
        surface = person_surface(face, on_grid, grid)
        crop = crop_around(face)
        truth = frame.picture

        def seen(field: np.ndarray) -> np.ndarray:
            fine = _at(field, crop, WITHIN * SIDE, cv2.INTER_LINEAR)
            return cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA)

        cover = seen(truth.coverage)
        weight = (truth.coverage > 0).astype(np.float32)
        light = seen(truth.light * weight[..., None]) / np.maximum(seen(weight), 1e-3)[..., None]
        part = _at(truth.part.astype(np.float32) - 255, crop, SIDE, cv2.INTER_NEAREST) + 255
        level = _face_level(light, crop.from_grid(surface.skin, grid), cover)
        normal = seen(truth.normal)
        normal = normal / np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-3)
        return SurfaceSample(
            crop.picture(frame.rgb),
            _int8(crop.from_grid(surface.normal, grid)),
            _uint8(crop.from_grid(on_grid, grid)),
            _int8(normal),
            np.log(np.maximum(light / level, MIN_LIGHT)).astype(np.float16),
            part.astype(np.uint8),
            _uint8(cover),
        )


def surface_samples(kit: FaceKit, seeds: range, rooms: int = ROOMS) -> Iterator[SurfaceSample]:
    """Yields the samples of the people with these seeds, one for each of `rooms` rooms."""
    maker = Maker()
    for seed in seeds:
        for frame in scanned_stills(kit, seed, rooms):
            sample = maker.sample(frame)
            if sample is not None:
                yield sample


def _at(field: np.ndarray, crop: SurfaceCrop, side: int, how: int) -> np.ndarray:
    """Returns the square of a field [H,W] or [H,W,C], C ≤ 4, at `side` px; 0 outside the frame."""
    return cv2.warpAffine(field, crop.matrix(side), (side, side), flags=how | cv2.WARP_INVERSE_MAP, borderValue=0)


def _face_level(light: FloatArray, skin: FloatArray, cover: FloatArray) -> float:
    """Returns the mean luminance of the light on the face, by which the engine's own source light is scaled as well."""
    where = (skin > 0.5) & (cover > 0.9)
    if not where.any():
        where = cover > 0.5
    return max(float(light[where].mean()) if where.any() else 1.0, 1e-3)


def _int8(field: np.ndarray) -> NDArray[np.int8]:
    return np.round(127 * np.clip(field, -1, 1)).astype(np.int8)


def _uint8(field: np.ndarray) -> NDArray[np.uint8]:
    return np.round(255 * np.clip(field, 0, 1)).astype(np.uint8)
