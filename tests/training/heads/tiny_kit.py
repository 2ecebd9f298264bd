"""A stand-in for ICT-FaceKit's file: its layout, and an ellipsoid for a head."""

from pathlib import Path

import numpy as np

from training.heads.scanned.facekit import DRAWN, EYES, FACE

SIDE = 97  # SIDE² vertices are the face's
RADII = np.array([7.6, 11.0, 9.0])
CENTRE = np.array([0.0, 2.0, 0.0])


def write_kit(path: Path) -> Path:
    """Writes the file: the face's vertices are a whole head, the others lie where eyes and mouth would be."""
    total = DRAWN + 10
    polar, turn = np.meshgrid(np.linspace(0.02, np.pi - 0.02, SIDE), np.linspace(-np.pi, np.pi, SIDE), indexing="ij")
    round_ = np.stack([np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)], -1)
    neutral = np.zeros((total, 3), np.float32)
    neutral[FACE] = (CENTRE + RADII * round_).reshape(-1, 3)
    rng = np.random.default_rng(0)
    neutral[FACE.stop :] = (0, -3, 5)
    eyes = np.array([(3.0, 3.5, 7.0), (-3.0, 3.5, 7.0)])
    neutral[EYES] = eyes[np.arange(EYES.stop - EYES.start) % 2] + 0.3 * rng.standard_normal((EYES.stop - EYES.start, 3))
    index = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4)
    identity = np.zeros((3, total, 3), np.float16)
    identity[0, FACE, 1] = 0.3
    identity[1, FACE, 0] = 0.02 * neutral[FACE, 0]
    names = np.array(["jawOpen", "mouthSmile_L", "mouthSmile_R", "eyeBlink_L", "eyeBlink_R"])
    expression = np.zeros((len(names), total, 3), np.float16)
    expression[0, FACE, 1] = np.where(neutral[FACE, 1] < -4, -1.0, 0.0)
    np.savez(path, neutral=neutral, quads=quads, identity=identity, expression=expression, expression_names=names)
    return path
