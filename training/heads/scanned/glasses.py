"""add_glasses puts glasses or a headset on a head. The truth below them stays that of the face (`render`)."""

import numpy as np

from lcvd.types import FloatArray
from training.heads.scanned.facekit import LANDMARKS
from training.heads.scanned.parts import Part, Parts, tube


def add_glasses(rng: np.random.Generator, parts: Parts, head: FloatArray) -> None:
    """Adds glasses to one head in four and a headset to one in ten."""
    marks = head[LANDMARKS]
    if rng.random() < 0.25:
        colour = np.exp(rng.uniform(np.log(0.01), np.log(0.5))) * np.clip(1 + rng.normal(0, 0.25, 3), 0.2, 2)
        thick, gloss = float(rng.uniform(0.06, 0.28)), float(rng.uniform(0.1, 0.6))
        wide, high, corner = rng.uniform(2.1, 2.9), rng.uniform(1.5, 2.3), rng.uniform(2.0, 5.0)
        turn = np.linspace(0, 2 * np.pi, 33)
        power = 2 / corner
        shape = np.stack([np.sign(np.cos(turn)) * abs(np.cos(turn)) ** power * wide,
                          np.sign(np.sin(turn)) * abs(np.sin(turn)) ** power * high], -1)  # fmt: skip
        nose = marks[28]
        for eye, ear, side in ((marks[42:48].mean(0), marks[16], 1), (marks[36:42].mean(0), marks[0], -1)):
            centre = eye + np.array([0.25 * side, -0.3, 0])
            z = max(float(nose[2]) - 0.3, float(eye[2]) + 1.2)
            rim = np.column_stack(
                (centre[0] + shape[:, 0], centre[1] + shape[:, 1], z - 0.1 * (side * shape[:, 0]) ** 1)
            )
            _add(parts, rim, thick, colour, gloss)
            hinge = np.array([centre[0] + side * wide, centre[1] + 0.6 * high, z - 0.2 * wide])
            back = np.array([ear[0] * 1.06 + 0.6 * side, centre[1] + 0.5, ear[2] - 4.5])
            _add(parts, np.linspace(hinge, back, 12), thick, colour, gloss)
        bridge = [(-0.9, 0, -0.2), (0, 0.25, 0.25), (0.9, 0, -0.2)]
        _add(parts, nose + np.array([0, 0.6, 0.5]) + np.array(bridge), thick, colour, gloss)
    if rng.random() < 0.1:
        colour = np.full(3, rng.choice([0.015, 0.03, 0.5])) * rng.uniform(0.8, 1.2)
        turn = np.linspace(-0.08, np.pi + 0.08, 25)
        reach, top = float(abs(head[:, 0]).max()) + 0.3, float(head[:, 1].max()) + rng.uniform(0.5, 2.0)
        band = np.column_stack((reach * np.cos(turn), 2.5 + (top - 2.5) * np.sin(turn), np.full(25, -0.5)))
        _add(parts, band, float(rng.uniform(0.3, 0.7)), colour, 0.1)
        for side in (-1, 1):
            cup = np.linspace([side * (reach - 1.2), 2.0, -0.6], [side * (reach + 1.0), 2.0, -0.6], 4)
            _add(parts, cup, float(rng.uniform(2.5, 3.8)), colour, 0.1, 14)


def _add(parts: Parts, path: np.ndarray, radius: float, colour: np.ndarray, gloss: float, sides: int = 6) -> None:
    points, triangles = tube(path.astype(np.float32), radius, sides)
    parts.add(points, triangles, np.clip(colour, 0.005, 0.9), Part.GLASSES, gloss=gloss)
