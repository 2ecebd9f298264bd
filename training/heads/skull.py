"""This module builds the bald skull behind a face outline: rings of 36 points over a superellipsoid to the back, cm."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from lcvd.face.geometry import face_mesh
from lcvd.types import FloatArray

SKULL_CENTRE = (0.0, 3.5, -4.5)
SKULL_RADII = (7.6, 9.2, 9.7)
SKULL_POWER = 2.4  # of the superellipsoid: a little boxier than an egg
RINGS = 11


@cache
def outline() -> NDArray[np.int32]:
    """Returns [36] face_oval's vertices in order round the face, from the top over the person's left."""
    angle_of = face_mesh().neutral[face_mesh().regions["face_oval"]]
    oval = face_mesh().regions["face_oval"]
    angle = np.arctan2(angle_of[:, 0], angle_of[:, 1])
    return oval[np.argsort(np.where(angle < -1e-4, angle + 2 * np.pi, angle), kind="stable")]


def ring_share() -> FloatArray:
    """Returns [RINGS] the place of each ring of the skull from outline (0) to back (1), denser near the face."""
    return (np.arange(1, RINGS + 1) / (RINGS + 1)).astype(np.float32) ** 1.25


def skull_rings(identity: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns the bald skull's points [RINGS,36,3] and their unit directions from the skull's centre."""
    rim = identity[outline()].astype(np.float64)
    centre, radii = skull_frame(identity)
    arm = rim - centre
    length = np.linalg.norm(arm, axis=1)
    start = arm / length[:, None]
    back = np.array([0.0, 0.05, -1.0]) / np.hypot(1, 0.05)
    angle = np.arccos(np.clip(start @ back, -1, 1))[None, :, None]
    t = ring_share()[:, None, None].astype(np.float64)
    direction = (np.sin((1 - t) * angle) * start + np.sin(t * angle) * back) / np.sin(angle)
    ellipsoid = (np.abs(direction / radii) ** SKULL_POWER).sum(2) ** (-1 / SKULL_POWER)
    blend = np.clip(t[..., 0] / 0.35, 0, 1)
    blend = blend * blend * (3 - 2 * blend)
    radius = length + blend * (ellipsoid - length)
    return (centre + radius[..., None] * direction).astype(np.float32), direction.astype(np.float32)


def skull_frame(identity: FloatArray) -> tuple[np.ndarray, np.ndarray]:
    """Returns centre and radii of the skull that fits a face."""
    reference = face_mesh().neutral[outline()]
    rim = identity[outline()]
    grown = np.abs(rim).max(0) / np.abs(reference).max(0)
    return np.array(SKULL_CENTRE) * (1, grown[1], grown[2]), np.array(SKULL_RADII) * (grown[0], grown[1], 1.0)
