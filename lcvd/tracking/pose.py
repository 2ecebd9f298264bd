"""Head pose, expression and identity: 468 points in the picture become what Face calls rotation … expression.

Pose is the weighted similarity (lcvd.face.geometry.similarity) from the person's neutral shape to the points, over the
parts of a face that bone holds still. With V = points in y-up axes: V ≈ s·R·C + t, so each frame observes the
canonical shape C = Rᵀ(V − t)/s; expression is C − identity (the reconstruction is exact by construction) and identity
is a slow average of C.
"""

from typing import NamedTuple

import numpy as np

from lcvd.face.geometry import Similarity, similarity
from lcvd.types import FloatArray, MeshTopology

Y_DOWN = np.array([1, -1, 1], np.float32)
# Vertices (MediaPipe numbering) that move with the skull: forehead, temples, nose, eye corners, cheekbones.
RIGID = (
    *(10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1),
    *(67, 69, 104, 103, 54, 68, 21, 71, 162, 139, 127, 34, 234, 227, 116, 111, 117),
    *(297, 299, 333, 332, 284, 298, 251, 301, 389, 368, 356, 264, 454, 447, 345, 340, 346),
    *(33, 133, 263, 362, 122, 351, 196, 419, 174, 399, 236, 456),
)


class Pose(NamedTuple):
    """The pose fields of Face, and the observed shape C in canonical space."""

    rotation: FloatArray
    translation_px: FloatArray
    scale_px_per_cm: float
    observed: FloatArray  # [V,3] cm


def rigid_weights(count: int) -> FloatArray:
    """Return the weights [V] of the pose fit: 1 on RIGID, 0 elsewhere."""
    weights = np.zeros(count, np.float32)
    weights[[v for v in RIGID if v < count]] = 1
    return weights


def solve_pose(points_px: FloatArray, neutral: FloatArray, weights: FloatArray) -> Pose:
    """Fit the pose of points [V,3] (x right, y down, z to the viewer) relative to `neutral` [V,3]."""
    up = points_px * Y_DOWN
    used = np.flatnonzero(weights)
    fit: Similarity = similarity(neutral[used], up[used], weights[used])
    observed = (up - fit.translation) @ fit.rotation / np.float32(fit.scale)
    return Pose(fit.rotation, fit.translation * Y_DOWN, fit.scale, observed.astype(np.float32))


class IdentityAverage:
    """Averages this person's neutral shape over time: from the canonical one, settling in `settle_s`, then slowly.

    Closed lips and open eyes only: a frame with the mouth open says nothing about the neutral mouth, a blink nothing
    about the lids. Turned heads count less, because the network's depth is least sure there. After every step the
    average is moved back onto the canonical mesh's frame, so that pose and scale cannot creep over hours.
    """

    def __init__(self, mesh: MeshTopology, settle_s: float = 1.0, memory_s: float = 20.0) -> None:
        self._mesh = mesh
        self._settle_s = settle_s
        self._memory_s = memory_s
        self._weights = rigid_weights(len(mesh.neutral))
        self._mouth = _reach(mesh, "lips", 3.0)
        self._eyes = np.maximum(_reach(mesh, "left_eye", 1.2), _reach(mesh, "right_eye", 1.2))
        self.reset()

    def reset(self) -> None:
        """Start another person from the canonical neutral."""
        self.shape: FloatArray = self._mesh.neutral.copy()
        self._seen = np.zeros(len(self.shape), np.float32)  # seconds of evidence per vertex
        self._t_s: float | None = None

    def update(self, pose: Pose, t_s: float) -> FloatArray:
        """Learn from one frame; returns the identity [V,3] (a new array)."""
        dt = 0.0 if self._t_s is None else min(max(t_s - self._t_s, 0.0), 0.2)
        self._t_s = t_s
        if dt > 0:
            weight = self._trust(pose) * np.float32(dt)
            self._seen = np.minimum(self._seen + weight, np.float32(self._memory_s))
            gain = weight / (self._settle_s + self._seen)
            shape = self.shape + gain[:, None] * (pose.observed - self.shape)
            used = np.flatnonzero(self._weights)
            back = similarity(shape[used], self._mesh.neutral[used])
            self.shape = (back.scale * shape @ back.rotation.T + back.translation).astype(np.float32)
        return self.shape.copy()

    def _trust(self, pose: Pose) -> FloatArray:
        """[V] weight in [0,1] of this frame as evidence of the neutral shape."""
        frontal = np.clip((float(pose.rotation[2, 2]) - 0.6) / 0.3, 0, 1)  # cos of the angle to the camera
        c = pose.observed
        mouth = np.linalg.norm(c[13] - c[14])  # inner lips, cm
        eyes = min(np.linalg.norm(c[159] - c[145]), np.linalg.norm(c[386] - c[374]))  # lids, cm
        closed = np.clip((0.6 - mouth) / 0.4, 0, 1)
        awake = np.clip((eyes - 0.4) / 0.3, 0, 1)
        return (frontal * (1 - self._mouth * (1 - closed)) * (1 - self._eyes * (1 - awake))).astype(np.float32)


def _reach(mesh: MeshTopology, region: str, radius_cm: float) -> FloatArray:
    """[V] 1 on a region, falling to 0 at `radius_cm` from it."""
    gap = mesh.neutral[:, None] - mesh.neutral[mesh.regions[region]][None]
    near = np.sqrt((gap**2).sum(-1)).min(1)
    return np.clip(1 - near / radius_cm, 0, 1).astype(np.float32)
