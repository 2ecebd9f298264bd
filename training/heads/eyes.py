"""This module paints eyes, teeth and ears: the small patches of the atlas (linear albedo)."""

import numpy as np

from lcvd.lighting.colour import linear_from_srgb
from lcvd.types import FloatArray
from training.heads import atlas
from training.heads.bust import EYE_REACH_CM, MOUTH_REACH_CM
from training.heads.noise import mix, ramp, smooth_noise

IRISES = np.array(
    [(58, 38, 26), (88, 56, 34), (120, 84, 46), (96, 110, 70), (84, 124, 150), (110, 150, 180), (110, 118, 122)],
    np.float32,
)
IRIS_CM, PUPIL_CM = 0.62, 0.27


def paint_eye(rng: np.random.Generator) -> FloatArray:
    """Paints the eyeball seen from the front, [64,64,3]: EYE_REACH_CM from the centre of the iris to the edge."""
    y, x = np.mgrid[: atlas.EYE.height, : atlas.EYE.width].astype(np.float32)
    x = (x / (atlas.EYE.width - 1) * 2 - 1) * EYE_REACH_CM
    y = (1 - y / (atlas.EYE.height - 1) * 2) * EYE_REACH_CM
    r = np.hypot(x, y)
    image = np.empty((*r.shape, 3), np.float32)
    image[:] = linear_from_srgb(np.array([232, 226, 220], np.uint8)) * rng.uniform(0.55, 0.75)
    image *= 1 - 0.25 * ramp(r, 0.9, 2.0)[..., None] * np.array([0.4, 1, 1], np.float32)
    iris = linear_from_srgb((IRISES[rng.integers(len(IRISES))] * rng.uniform(0.85, 1.15) / 255).astype(np.float32))
    spokes = 1 + 0.25 * smooth_noise(rng, r.shape, (10, 10))
    image = mix(image, iris * np.clip(spokes, 0.5, 1.6)[..., None], ramp(r, IRIS_CM + 0.05, IRIS_CM - 0.05))
    image *= (1 - 0.55 * np.exp(-0.5 * np.square((r - IRIS_CM) / 0.09)))[..., None]  # limbal ring
    image = mix(image, np.full(3, 0.006), ramp(r, PUPIL_CM + 0.06, PUPIL_CM - 0.06))
    glint = ramp(np.hypot(x + 0.16, y - 0.2), 0.17, 0.06)
    return mix(image, np.full(3, 0.8), glint)


def paint_mouth(rng: np.random.Generator) -> FloatArray:
    """Paints what is behind the lips, [32,64,3]: rows run down from the upper lip, teeth first."""
    y, x = np.mgrid[: atlas.MOUTH.height, : atlas.MOUTH.width].astype(np.float32)
    y = y / (atlas.MOUTH.height - 1) * MOUTH_REACH_CM[1]
    x = (x / (atlas.MOUTH.width - 1) * 2 - 1) * MOUTH_REACH_CM[0]
    dark = np.array([0.045, 0.012, 0.012], np.float32)
    teeth = linear_from_srgb(np.array([236, 228, 212], np.uint8)) * rng.uniform(0.6, 0.95)
    bite = rng.uniform(0.4, 0.75) - 0.05 * np.square(x)
    tongue = np.array([0.28, 0.07, 0.07], np.float32)
    image = np.broadcast_to(dark, (*x.shape, 3)).astype(np.float32)
    image = mix(image, tongue, 0.7 * ramp(y, 1.1, 1.7) * ramp(np.abs(x), 1.7, 1.0))
    return mix(image, teeth, ramp(y, bite + 0.06, bite - 0.06) * ramp(np.abs(x), 2.2, 1.7))


def paint_ear(tone: FloatArray) -> FloatArray:
    """Paints an ear, [48,64,3]: skin with a hollow inside the rim."""
    y, x = np.mgrid[: atlas.EAR.height, : atlas.EAR.width].astype(np.float32)
    x, y = x / (atlas.EAR.width - 1) * 2 - 1, y / (atlas.EAR.height - 1) * 2 - 1
    r = np.hypot(x, y)
    hollow = 0.45 * ramp(r, 0.68, 0.35) * ramp(y, 0.75, 0.35)
    groove = 0.3 * np.exp(-0.5 * np.square((r - 0.68) / 0.08)) * ramp(y, 0.5, 0.1)
    return (tone * np.array([1.02, 0.93, 0.93], np.float32) * (1 - hollow - groove)[..., None]).astype(np.float32)
