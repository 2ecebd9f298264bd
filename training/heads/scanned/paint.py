"""paint_head gives every vertex of the kit a linear albedo: skin with its marks, lips, brows, eyes, teeth.

Places come from the kit's mean head and its 68 landmarks, so the paint moves with the face. Tones are those of
`training.heads.skin`, drawn evenly from very pale to very dark.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray
from training.heads.noise import ramp
from training.heads.scanned.facekit import EYES, HEAD, LANDMARKS, SOCKETS, TEETH, FaceKit
from training.heads.scanned.noise3 import noise3
from training.heads.scanned.parts import Part
from training.heads.skin import Skin

IRIS_CM, PUPIL_CM = 0.62, 0.26
IRISES = np.array([(0.06, 0.03, 0.015), (0.12, 0.06, 0.02), (0.16, 0.2, 0.1), (0.15, 0.25, 0.38), (0.2, 0.23, 0.25)])
BUST_Y = -9.0  # below lies the kit's neck


class Places:
    """Holds where features lie on the kit's mean head, each [V] in 0…1."""

    def __init__(self, kit: FaceKit) -> None:
        at = kit.neutral
        x, y, z = at[:, 0], at[:, 1], at[:, 2]
        marks = at[LANDMARKS]
        front = ramp(z, 3.0, 6.0)
        face = np.zeros(len(at), np.float32)
        face[: HEAD.start] = 1
        self.lips = _inside(marks[48:60, :2], at) * ramp(z, 9.0, 9.8) * face
        brows = [_near(marks[part] + np.array([0, 0.25, 0]), at) for part in (slice(17, 22), slice(22, 27))]
        self.brows = np.maximum(*brows) * front * face
        side = np.abs(x)
        self.cheeks = np.exp(-0.5 * (((side - 4.4) / 1.6) ** 2 + ((y - 0.3) / 1.5) ** 2)) * front
        self.nose = np.exp(-0.5 * ((x / 1.1) ** 2 + ((y - 0.3) / 1.0) ** 2)) * ramp(z, 10.5, 11.5)
        self.sockets = np.exp(-0.5 * (((side - 3.1) / 1.5) ** 2 + ((y - 2.3) / 0.5) ** 2)) * front * face
        lashes = [_near(marks[k][:, :], at, 0.16) for k in ([36, 37, 38, 39], [42, 43, 44, 45])]
        self.lashes = np.maximum(*lashes) * face
        jaw = ramp(y, -1.5, -4.0) * ramp(side, 8.2, 7.4) * ramp(y, -11.0, -9.0) * ramp(z, -0.5, 1.5)
        beside_mouth = 1 - _inside(marks[48:60, :2] * (1.05, 1.15) + (0, 0.55), at) * ramp(z, 8.0, 9.5)
        sideburn = ramp(side, 6.0, 6.8) * ramp(y, 4.5, 3.5) * ramp(y, -7.0, -5.0) * ramp(z, 3.6, 3.0)
        sideburn = sideburn * ramp(z, 0.4, 1.2)
        chin = ramp(y, -4.6, -5.2) * ramp(z, 4.0, 6.0)
        self.beard = (
            np.maximum(np.maximum(jaw * ramp(side, 2.0, 3.6), chin * jaw), sideburn) * beside_mouth * (1 - self.lips)
        )
        moustache = ramp(y, -1.3, -1.8) * ramp(y, -3.4, -2.9) * ramp(side, 3.0, 2.4) * ramp(z, 9.0, 10.0)
        self.moustache = moustache * (1 - self.lips)


@lru_cache(4)
def places(kit: FaceKit) -> Places:
    """Returns the places of a kit, computed once."""
    return Places(kit)


def paint_head(
    rng: np.random.Generator, kit: FaceKit, skin: Skin, hair: FloatArray, brow: float, beard: float, moustache: float
) -> tuple[FloatArray, FloatArray, NDArray[np.uint8]]:
    """Returns albedo [V,3], gloss [V] and part [V] of the kit's vertices. `hair` [3] colours brows and beard."""
    at, where = kit.neutral, places(kit)
    seed = int(rng.integers(1 << 30))
    albedo = np.repeat(skin.tone[None], len(at), 0)
    grey = 1 + skin.blotches * (noise3(at, 1.6, seed) + noise3(at, 0.6, seed + 1))
    grey *= 1 - rng.uniform(0, 0.25) * where.sockets - 0.1 * skin.age * where.cheeks * noise3(at, 0.5, seed + 2)
    albedo *= grey[:, None]
    flush = skin.flush * np.maximum(where.cheeks, 0.8 * where.nose)
    albedo *= 1 - flush[:, None] * np.array([0.02, 0.2, 0.16], np.float32)
    if skin.freckles > 0:
        spots = ramp(noise3(at, 0.35, seed + 3), 0.25, 0.5) * np.maximum(where.cheeks, where.nose)
        albedo *= 1 - (0.5 * skin.freckles * spots)[:, None] * np.array([0.5, 0.8, 1.0], np.float32)
    for _ in range(rng.poisson(1.5)):  # moles and spots
        spot = at[rng.integers(0, HEAD.start)]
        near = np.exp(-0.5 * (np.linalg.norm(at - spot, axis=1) / rng.uniform(0.1, 0.25)) ** 2)
        albedo *= 1 - near[:, None] * rng.uniform(0.2, 0.6) * np.array([0.6, 1.0, 1.0], np.float32)
    grain = 0.7 + 0.3 * noise3(at, (0.12, 0.5, 0.3), seed + 4)
    stubble = np.clip(noise3(at, 1.2, seed + 5) * 0.4 + 0.8, 0, 1)
    weights = (
        (skin.lips, 0.9 * where.lips),
        (hair, brow * where.brows * grain),
        (hair, 0.85 * where.lashes),
        (hair, beard * where.beard * grain * stubble),
        (hair, moustache * where.moustache * grain * stubble),
    )
    for colour, weight in weights:
        weight = np.clip(weight, 0, 1)[:, None]
        albedo += weight * (np.asarray(colour, np.float32) - albedo)
    gloss = np.full(len(at), rng.uniform(0.01, 0.12), np.float32)
    gloss *= 1 + 0.8 * where.nose + 0.5 * where.lips - 0.8 * np.clip(beard * where.beard, 0, 1)
    part = np.full(len(at), Part.SKIN, np.uint8)
    part[SOCKETS], part[TEETH], part[EYES] = Part.MOUTH, Part.MOUTH, Part.EYE
    albedo[SOCKETS] = skin.tone * np.array([0.5, 0.25, 0.22], np.float32)
    teeth = at[TEETH, 2] > -99
    albedo[TEETH] = np.where(teeth[:, None], np.array([0.35, 0.12, 0.11]), 0)
    albedo[17039:21451] = np.array([0.62, 0.58, 0.5]) * rng.uniform(0.7, 1.15)
    albedo[EYES], gloss[EYES] = _eyes(rng, at[EYES]), 0.12
    return np.clip(albedo, 0.004, 0.95).astype(np.float32), gloss.astype(np.float32), part


def _eyes(rng: np.random.Generator, at: FloatArray) -> FloatArray:
    colour = np.full((len(at), 3), rng.uniform(0.5, 0.75), np.float32) * np.array([1, 0.95, 0.93], np.float32)
    iris = IRISES[rng.integers(len(IRISES))] * rng.uniform(0.7, 1.3)
    for side in (at[:, 0] > 0, at[:, 0] <= 0):
        centre = at[side].mean(0)
        off = np.linalg.norm(at[side][:, :2] - centre[:2], axis=1)
        before = at[side][:, 2] > centre[2]
        own = colour[side]
        own[(off < IRIS_CM) & before] = iris
        own[(off < PUPIL_CM) & before] = 0.01
        colour[side] = own
    return colour


def _inside(polygon: np.ndarray, at: FloatArray) -> FloatArray:
    """Returns [V]: 1 well inside a polygon in x and y, 0 a millimetre outside."""
    contour = np.ascontiguousarray(polygon, np.float32)
    distance = [cv2.pointPolygonTest(contour, (float(x), float(y)), True) for x, y in at[:, :2]]
    return ramp(np.array(distance, np.float32), -0.1, 0.1)


def _near(line: FloatArray, at: FloatArray, wide: float = 0.32) -> FloatArray:
    """Returns [V]: 1 on a polyline in x and y, 0 from `wide` cm on."""
    best = np.full(len(at), 99.0)
    for a, b in zip(line[:-1, :2], line[1:, :2], strict=True):
        step = b - a
        t = np.clip(((at[:, :2] - a) @ step) / (step @ step), 0, 1)
        best = np.minimum(best, np.linalg.norm(at[:, :2] - a - t[:, None] * step, axis=1))
    return ramp(best, wide * 1.3, wide * 0.7)
