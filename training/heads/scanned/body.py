"""add_body puts a trunk in clothes under the head: shoulders, chest, a collar, folds and a pattern."""

import numpy as np

from lcvd.face.geometry import vertex_normals
from lcvd.types import FloatArray
from training.heads.noise import ramp
from training.heads.scanned.noise3 import noise3
from training.heads.scanned.parts import Part, Parts, grid_triangles

COLS = 80
# y, half width, half depth, z of the axis (cm): the shoulders under the kit's own neck and collar bones.
RINGS = ((-11.0, 6.2, 6.0, -1.2), (-13.5, 7.0, 6.6, -1.6), (-15.2, 10.5, 7.6, -2.2), (-16.8, 14.8, 8.6, -2.8),
         (-18.8, 18.2, 9.8, -3.0), (-21.5, 20.4, 10.8, -3.0), (-26.0, 21.6, 11.6, -3.0), (-34.0, 21.8, 12.4, -3.0),
         (-46.0, 21.6, 12.8, -3.0), (-60.0, 21.4, 13.0, -3.0))  # fmt: skip
SUBDIVIDED = 7


def add_body(rng: np.random.Generator, parts: Parts) -> None:
    """Adds the trunk to the parts."""
    fine = np.linspace(0, len(RINGS) - 1, SUBDIVIDED * (len(RINGS) - 1) + 1)
    rings = np.column_stack([np.interp(fine, np.arange(len(RINGS)), column) for column in np.array(RINGS).T])
    collar = rng.uniform(0, 4.5) if rng.random() < 0.75 else rng.uniform(-2.5, 0)  # > 0: an opening that shows the neck
    rings[:, 1] *= 1 + (rng.uniform(0.85, 1.15) - 1) * ramp(-rings[:, 0], 14, 20)
    angle = 2 * np.pi * np.arange(COLS) / COLS
    y = np.repeat(rings[:, :1], COLS, 1)
    # Shoulders slope to the sides; the opening is deeper before the throat.
    y = y - ramp(rings[:, 1], 8, 18)[:, None] * 2.2 * np.square(np.sin(angle)) - 0.6
    near_neck = ramp(rings[:, 0], -17.5, -12.0)[:, None]
    y = y - near_neck * collar * (0.35 + 0.65 * np.clip(np.cos(angle), 0, 1))
    thick = rng.uniform(0.2, 1.4)
    widened = 1 + near_neck * max(collar, 0) * 0.08
    points = np.stack(
        [(rings[:, 1:2] * widened + thick) * np.sin(angle), y, rings[:, 3:] + (rings[:, 2:3] + thick) * np.cos(angle)],
        -1,
    )
    points = points.reshape(-1, 3).astype(np.float32)
    triangles = grid_triangles(len(rings), COLS, wrap=True)
    normals = vertex_normals(points, triangles)
    seed = int(rng.integers(1 << 30))
    folds = noise3(points, rng.uniform((2, 4, 2), (6, 10, 6)), seed) + 0.4 * noise3(points, 1.6, seed + 1)
    points = points + (rng.uniform(0, 0.8) * folds)[:, None] * normals
    parts.add(points, triangles, _cloth(rng, points, seed), Part.CLOTH, gloss=float(rng.uniform(0, 0.03)), body=1.0)


def _cloth(rng: np.random.Generator, points: FloatArray, seed: int) -> FloatArray:
    """Returns albedo [N,3]: plain, striped, checked, blotched, or printed in further colours."""
    colour = _dye(rng)
    paint = np.repeat(colour[None], len(points), 0)
    style = rng.random()
    if style < 0.15:
        stripes = np.sin(points[:, 1] * rng.uniform(1.0, 2.5)) > rng.uniform(-0.5, 0.7)
        if rng.random() < 0.4:
            stripes |= np.sin(points[:, 0] * rng.uniform(1.0, 2.5)) > rng.uniform(0, 0.8)
        paint[stripes] = _dye(rng)
    elif style < 0.3:
        paint[noise3(points, rng.uniform(1.5, 4), seed + 3) > 0.1] *= rng.uniform(0.3, 0.7)
    elif style < 0.5:
        for k in range(int(rng.integers(1, 4))):
            paint[noise3(points, rng.uniform(2, 7), seed + 4 + k) > rng.uniform(0.1, 0.4)] = _dye(rng)
    if rng.random() < 0.15:  # a print on the chest
        off = np.hypot((points[:, 0] - rng.normal(0, 3)) / rng.uniform(2, 7), (points[:, 1] + 27) / rng.uniform(2, 6))
        paint[(off < 1) & (points[:, 2] > 0)] = _dye(rng)
    light = 1 + 0.12 * noise3(points, 0.5, seed + 2)
    return np.clip(light[:, None] * paint, 0.01, 0.92)


def _dye(rng: np.random.Generator) -> np.ndarray:
    grey = np.exp(rng.uniform(np.log(0.02), np.log(0.8)))
    return grey * np.clip(1 + rng.normal(0, 0.35, 3), 0.2, 1.8)
