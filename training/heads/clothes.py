"""This module paints neck and clothes: the trunk's patch, skin above the neckline and cloth below (linear albedo)."""

import colorsys

import numpy as np

from lcvd.lighting.colour import linear_from_srgb
from lcvd.types import FloatArray
from training.heads import atlas
from training.heads.bust import NECK_ABOVE_CHIN_CM, NECK_ROWS, TRUNK_DEG
from training.heads.noise import mix, ramp, smooth_noise


def paint_trunk(rng: np.random.Generator, tone: FloatArray, rings: np.ndarray, beard: FloatArray | None) -> FloatArray:
    """Returns [96,192,3] over `rings` (bust.trunk_rings); `beard` [3], where given, darkens the throat."""
    height, width = atlas.TRUNK.height, atlas.TRUNK.width
    y = np.interp(np.linspace(0, 1, height), np.linspace(0, 1, len(rings)), rings[:, 0]).astype(np.float32)[:, None]
    angle = np.linspace(-TRUNK_DEG, TRUNK_DEG, width).astype(np.float32)[None]
    neck_y, chin_y = float(rings[NECK_ROWS - 1, 0]), float(rings[0, 0]) - NECK_ABOVE_CHIN_CM
    image = np.empty((height, width, 3), np.float32)
    image[:] = tone
    image *= 1 + 0.04 * smooth_noise(rng, (height, width), (6, 10))[..., None]
    # The jaw takes light from the neck; the notch between the collar bones and the two cords show.
    image *= (1 - 0.55 * ramp(y, chin_y - 4.0, chin_y + 0.5) * ramp(np.abs(angle), 130, 30))[..., None]
    pit = np.exp(-0.5 * ((angle / 7) ** 2 + ((y - neck_y + 0.8) / 0.8) ** 2))
    cords = np.exp(-0.5 * ((np.abs(angle) - 20 - 5 * (y - neck_y)) / 5) ** 2) * ramp(y, neck_y - 0.5, neck_y + 2)
    image *= (1 - 0.2 * pit + 0.06 * cords)[..., None]
    if beard is not None:
        image = mix(image, beard, 0.6 * ramp(y, chin_y - 1.5, chin_y + 1.0) * ramp(np.abs(angle), 80, 50))
    cloth = _cloth(rng, y, angle)
    line = _neckline(rng, angle, neck_y)
    edge = cloth[int(0.8 * height)].mean(0) * rng.uniform(0.35, 1.3)
    cloth = mix(cloth, edge, np.exp(-0.5 * ((y - line + 0.45) / 0.3) ** 2))
    return mix(image * (1 - 0.25 * ramp(line - y, -1.0, -0.1))[..., None], cloth, ramp(line - y, -0.08, 0.12))


def _neckline(rng: np.random.Generator, angle: FloatArray, neck_y: float) -> FloatArray:
    """Returns y [1,W] below which cloth begins."""
    depth = rng.uniform(0.3, 6.0)
    style = rng.integers(4)
    if style == 0:  # round
        return (neck_y + 0.4 - depth * np.exp(-0.5 * (angle / 42) ** 2)).astype(np.float32)
    if style == 1:  # V
        return (neck_y + 0.8 - 1.4 * depth * np.clip(1 - np.abs(angle) / 48, 0, 1)).astype(np.float32)
    if style == 2:  # collar: high behind, a small opening
        return (neck_y + 1.6 - 3.0 * np.clip(1 - np.abs(angle) / 24, 0, 1)).astype(np.float32)
    return np.full_like(angle, neck_y + rng.uniform(1.0, 3.2))  # turtleneck


def _cloth(rng: np.random.Generator, y: FloatArray, angle: FloatArray) -> FloatArray:
    def dye() -> np.ndarray:
        vivid = rng.random() < 0.5
        hue, saturation = rng.random(), rng.uniform(0.3, 0.85) if vivid else rng.uniform(0, 0.25)
        return linear_from_srgb(np.array(colorsys.hsv_to_rgb(hue, saturation, rng.uniform(0.12, 0.9)), np.float32))

    base, second = dye(), dye()
    image = np.empty((len(y), angle.shape[1], 3), np.float32)
    image[:] = base
    pitch, style = rng.uniform(1.2, 4.0), rng.integers(5)
    x = angle / np.float32(9)
    down, across = np.sin(2 * np.pi * y / pitch), np.sin(2 * np.pi * x / pitch)
    if style == 0:
        image = mix(image, second, ramp(down, -0.15, 0.15) * np.ones_like(x, np.float32))
    elif style == 1:
        image = mix(image, second, ramp(across, -0.15, 0.15) * np.ones_like(y, np.float32))
    elif style == 2:
        image = mix(image, second, np.float32(0.35) * (ramp(down, 0.3, 0.5) + ramp(across, 0.3, 0.5)))
    elif style == 3:  # open jacket over a shirt
        image = mix(image, second, ramp(np.abs(angle), 26.3, 25.0) * np.ones_like(y, np.float32))
    folds = smooth_noise(rng, image.shape[:2], (4, 14))
    return image * (1 + 0.08 * folds)[..., None]
