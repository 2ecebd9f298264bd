"""random_background draws what stands behind a head: gradient, blurred lights, a wall, or shelves; [S,S,3] linear.

It has its own light, which relighting does not change: LCVD is given the background and keeps it.
"""

import cv2
import numpy as np

from lcvd.lighting.colour import linear_from_srgb
from lcvd.types import FloatArray
from training.heads.noise import mix, ramp, smooth_noise

SIDE = 144  # px; painted at this size, then resampled, so a seed shows the same room at every size


def random_background(rng: np.random.Generator, size: int) -> FloatArray:
    """Returns linear RGB float32 [size,size,3]."""
    style = rng.choice(4, p=(0.25, 0.25, 0.25, 0.25))
    image = (_gradient, _lights, _room, _shelves)[style](rng)
    image = image * np.clip(1 + 0.05 * smooth_noise(rng, (SIDE, SIDE), (5, 5)), 0.7, 1.3)[..., None]
    image *= np.exp(rng.uniform(np.log(0.25), np.log(1.1)))
    blur = rng.uniform(0.5, 7.0) if style != 0 else 0.0
    if blur > 0:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.float32)
    return np.ascontiguousarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def _colour(rng: np.random.Generator, low: float = 0.1, high: float = 0.9, saturation: float = 0.5) -> FloatArray:
    grey = rng.uniform(low, high)
    tint = rng.uniform(-1, 1, 3) * saturation * rng.random() * min(grey, 1 - grey) * 1.6
    return linear_from_srgb(np.clip(grey + tint, 0.02, 0.98).astype(np.float32))


def _axes() -> tuple[FloatArray, FloatArray]:
    along = np.linspace(0, 1, SIDE, dtype=np.float32)
    x, y = np.meshgrid(along, along)
    return x, y


def _gradient(rng: np.random.Generator) -> FloatArray:
    x, y = _axes()
    turn = rng.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn)
    if rng.random() < 0.5:
        along = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8)) - 0.4
    base = np.broadcast_to(_colour(rng), (SIDE, SIDE, 3)).astype(np.float32)
    return mix(base, _colour(rng), ramp(along, -0.6, 0.6))


def _lights(rng: np.random.Generator) -> FloatArray:
    """Draws out-of-focus spots on a dim gradient."""
    image = 0.6 * _gradient(rng)
    x, y = _axes()
    for _ in range(rng.integers(4, 16)):
        radius = rng.uniform(0.03, 0.16)
        distance = np.hypot(x - rng.uniform(0, 1), y - rng.uniform(0, 1))
        image = mix(
            image, 1.2 * _colour(rng, 0.4, 0.98, 1.0), rng.uniform(0.3, 0.8) * ramp(distance, radius, radius * 0.8)
        )
    return image


def _wall(rng: np.random.Generator) -> FloatArray:
    image = np.broadcast_to(_colour(rng, 0.3, 0.9, 0.35), (SIDE, SIDE, 3)).astype(np.float32)
    x, _ = _axes()
    return image * (1 + rng.uniform(-0.5, 0.5) * (x - 0.5))[..., None]


def _box(image: FloatArray, box: tuple[float, float, float, float], colour: FloatArray) -> None:
    """Fills left, top, right, bottom (0…1) of a picture; the background's blur softens the edges later."""
    left, top, right, bottom = (round(v * SIDE * 16) for v in box)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.int32)
    cv2.fillPoly(image, [corners], tuple(float(c) for c in colour), cv2.LINE_8, 4)


def _room(rng: np.random.Generator) -> FloatArray:
    """Draws a wall, sometimes a corner, windows or pictures, and a piece of furniture."""
    image = np.ascontiguousarray(_wall(rng))
    if rng.random() < 0.5:
        at = rng.uniform(0.1, 0.9)
        image[:, int(at * SIDE) :] *= rng.uniform(0.6, 0.9)
    for _ in range(rng.integers(1, 4)):
        left, top = rng.uniform(-0.1, 0.85), rng.uniform(-0.05, 0.5)
        width, height = rng.uniform(0.12, 0.4), rng.uniform(0.15, 0.45)
        frame = 0.015
        _box(image, (left - frame, top - frame, left + width + frame, top + height + frame), _colour(rng, 0.05, 0.9))
        _box(image, (left, top, left + width, top + height), _colour(rng, 0.2, 0.98, 0.8))
    if rng.random() < 0.6:
        top = rng.uniform(0.6, 0.85)
        left = rng.uniform(-0.2, 0.6)
        _box(image, (left, top, left + rng.uniform(0.3, 0.9), 1.1), _colour(rng, 0.05, 0.6))
    return image


def _shelves(rng: np.random.Generator) -> FloatArray:
    image = np.ascontiguousarray(0.5 * _wall(rng))
    wood = _colour(rng, 0.2, 0.7, 0.4)
    rows = int(rng.integers(2, 5))
    for row in range(rows + 1):
        bottom = (row + rng.uniform(0.9, 1.0)) / rows
        at = rng.uniform(-0.05, 0.05)
        while at < 1:
            width = rng.uniform(0.02, 0.07)
            if rng.random() < 0.85:
                _box(
                    image, (at, bottom - rng.uniform(0.4, 0.8) / rows, at + width, bottom), _colour(rng, 0.1, 0.9, 0.9)
                )
            at += width + 0.004
        _box(image, (-0.1, bottom, 1.1, bottom + 0.03), wood)
    return image
