"""random_room draws the light of a room as lamps with a size: what a webcam's user sits in, the harsh cases most often.

A light is a list of small directional samples, so one visibility test a sample gives soft shadows, occlusion and
coloured fill alike. Radiance is exposed by `training.heads.scanned.render`, so only ratios matter here.
"""

from dataclasses import dataclass

import numpy as np

from lcvd.lighting.colour import rgb_from_temperature_k
from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.sh import sh_basis
from lcvd.types import FloatArray, Lighting

AMBIENT_SAMPLES = 18
LAMP_SAMPLES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """Holds the samples of a light: where each comes from and what it brings."""

    directions: FloatArray  # [N,3] unit, from the head to the light, +x right in the picture, +y up, +z to the viewer
    rgb: FloatArray  # [N,3] irradiance of a surface that faces it
    lamp: FloatArray  # [N] 1 = belongs to a lamp: gives a highlight


def random_around(rng: np.random.Generator, count: int = AMBIENT_SAMPLES) -> np.ndarray:
    """Draws N = `count` directions [N,3] spread over the sphere."""
    return fibonacci(count) @ _rotation(rng).T


def room_of(light: Lighting, around: np.ndarray) -> Room:
    """Returns the samples of a light's order-2 radiance in the directions `around` [N,3], which cover the sphere.

    What is below 0 there is left out.
    """
    directions = around.astype(np.float32)
    radiance = np.maximum(sh_basis(directions) @ sh_projection(light), 0)
    return Room(directions, (radiance * 4 / len(around)).astype(np.float32), np.zeros(len(around), np.float32))


def random_room(rng: np.random.Generator, around: np.ndarray | None = None) -> Room:
    """Draws a room: an ambient of two colours and one to three lamps.

    `around` [N,3] are the directions of the ambient; rooms that share them share their shadows (`renders`).
    """
    harsh = rng.random()
    around = random_around(rng) if around is None else around
    sky, ground = (_colour(rng, 0.15) for _ in range(2))
    up = 0.5 + 0.5 * np.clip(around @ _unit(np.array([rng.normal(0, 0.5), 1.0, rng.normal(0, 0.5)])), -1, 1)
    front = 1 + rng.uniform(-0.5, 0.9) * around[:, 2]
    level = np.exp(rng.uniform(np.log(0.04), np.log(0.25))) if harsh < 0.45 else rng.uniform(0.25, 1.2)
    bright = level * (0.25 + 0.75 * up)[:, None] * sky + level * rng.uniform(0.1, 0.6) * (1 - up)[:, None] * ground
    ambient = bright * front[:, None] * (4 / AMBIENT_SAMPLES)
    directions, rgb, lamp = [around], [ambient], [np.zeros(AMBIENT_SAMPLES)]
    side = rng.choice((-1, 1))
    for k in range(1 + int(rng.integers(0, 3))):
        if k == 0:
            azimuth, elevation = side * rng.uniform(15, 105), rng.uniform(-15, 55)
            strength = rng.uniform(0.6, 1.4)
        else:
            azimuth, elevation = rng.uniform(-170, 170), rng.uniform(-35, 75)
            strength = rng.uniform(0.1, 0.7)
        spread = np.radians(rng.choice((3, 12, 30)) * rng.uniform(0.5, 1.5))
        a, e = np.radians(azimuth), np.radians(elevation)
        middle = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
        samples = _unit(middle + spread * rng.normal(0, 0.6, (LAMP_SAMPLES, 3)))
        directions.append(samples)
        rgb.append(np.repeat(strength * _colour(rng, 0.2)[None] / LAMP_SAMPLES, LAMP_SAMPLES, 0))
        lamp.append(np.ones(LAMP_SAMPLES))
    return Room(*(np.concatenate(column).astype(np.float32) for column in (directions, rgb, lamp)))


def _colour(rng: np.random.Generator, vivid: float) -> np.ndarray:
    """Draws a colour of luminance about 1: a lamp's temperature, or with chance `vivid` a saturated one."""
    if rng.random() < vivid:
        rgb = rng.dirichlet((1.2, 1.2, 1.2)) * 3
        return rgb / (0.4 + 0.6 * rgb.max())
    return np.asarray(rgb_from_temperature_k(float(np.exp(rng.uniform(np.log(2700), np.log(10000))))))


def fibonacci(count: int) -> np.ndarray:
    """Returns `count` unit vectors [N,3] spread evenly over the sphere."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    turn = np.pi * (1 + 5**0.5) * k
    flat = np.sqrt(1 - z * z)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], 1)


def _rotation(rng: np.random.Generator) -> np.ndarray:
    turned, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return turned


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)
