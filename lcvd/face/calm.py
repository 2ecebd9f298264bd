"""Calmness of a face: how likely its mouth is the resting one, and what the mouth of an uncalm face would be at rest.

Both are statements about MediaPipe's 468 points in canonical cm (lcvd.face.geometry). The figures are those of eleven
clips of eleven people: lips at rest are up to 0.2 cm apart and 0.46 to 0.56 times as wide as the outer corners of the
eyes are apart; smiles begin at 0.60, laughs reach 0.77 and 3.9 cm.
"""

import math
from functools import cache

import numpy as np

from lcvd.face.geometry import face_mesh
from lcvd.types import FloatArray

UPPER_LIP, LOWER_LIP = (0, 13, 37, 267), (14, 17, 87, 317)  # vertices around the middle of each lip
MOUTH_CORNERS, EYE_CORNERS = (61, 291), (33, 263)
REST_GAP_CM, GAP_SPREAD_CM = 0.2, 0.22
REST_WIDTH, WIDTH_SPREAD = 0.53, 0.05  # of the mouth over the outer eye corners
LEAST = 0.002  # evidence of a face that is not calm at all; nobody's mouth is open for ever
# An opening mouth moves the chin down by this share of the lower lip's way, and back by that one (eight clips).
CHIN_DOWN, CHIN_BACK = 0.62, 0.47
LIP_REACH_CM = 2.0


def calmness(shape: FloatArray) -> float:
    """Return the relative likelihood in (0,1] of the mouth of a canonical shape [468,3] cm under resting mouths.

    Widths are ratios, so that a large or a broad face is as calm as another.
    """
    gap = float(np.linalg.norm(shape[UPPER_LIP[1]] - shape[LOWER_LIP[0]]))
    width = _distance(shape, MOUTH_CORNERS) / max(_distance(shape, EYE_CORNERS), 1e-3)
    square = (max(gap - REST_GAP_CM, 0.0) / GAP_SPREAD_CM) ** 2 + ((width - REST_WIDTH) / WIDTH_SPREAD) ** 2
    return max(math.exp(-square / 2), LEAST)


def calmed(shape: FloatArray) -> FloatArray:
    """Return a canonical shape [468,3] cm with its mouth closed: a guess at the same person at rest.

    The mean neutral lips take the place of the shape's own, under the middle of its upper lip, which an opening mouth
    moves least. Chin and jaw follow as they open: about the ears.
    """
    neutral = face_mesh().neutral
    lips, jaw, reach = _lower_face()
    broad = _distance(shape, EYE_CORNERS) / _distance(neutral, EYE_CORNERS)
    narrow = REST_WIDTH * _distance(neutral, EYE_CORNERS) / _distance(neutral, MOUTH_CORNERS)
    stretch = np.array([broad * narrow, 1, 1], np.float32)
    upper = np.array(UPPER_LIP)
    wanted = neutral * stretch
    wanted = wanted + shape[upper].mean(0) - wanted[upper].mean(0)
    rise = float((wanted - shape)[list(LOWER_LIP), 1].mean())
    closed = shape + jaw[:, None] * np.array([0, CHIN_DOWN, CHIN_BACK], np.float32) * np.float32(rise)
    return (closed + reach @ (wanted - closed)[lips]).astype(np.float32)


def _distance(shape: FloatArray, pair: tuple[int, int]) -> float:
    return float(np.linalg.norm(shape[pair[0]] - shape[pair[1]]))


@cache
def _lower_face() -> tuple[np.ndarray, FloatArray, FloatArray]:
    """Return the lips' vertices, each vertex's share of the jaw's turn [V], and of each lip vertex's way [V,lips]."""
    mesh = face_mesh()
    neutral = mesh.neutral
    lips = np.unique(np.concatenate([mesh.regions["lips"], mesh.regions["inner_lips"]]))
    jaw = np.clip(neutral[:, 1] / neutral[152, 1], 0, 1) ** 3
    gap = np.linalg.norm(neutral[:, None] - neutral[lips][None], axis=2)
    near = 1 / (gap + 1e-3) ** 3
    fall = np.clip(1 - gap.min(1) / LIP_REACH_CM, 0, 1)
    reach = near / near.sum(1, keepdims=True) * fall[:, None]
    reach[lips] = np.eye(len(lips))
    return lips, jaw.astype(np.float32), reach.astype(np.float32)
