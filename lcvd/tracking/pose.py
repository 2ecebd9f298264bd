"""Head pose, expression and identity: 468 points in the picture become what Face calls rotation … expression.

Pose is the weighted similarity (lcvd.face.geometry.similarity) from the person's neutral shape to the points, over the
parts of a face that bone holds still. With V = points in y-up axes: V ≈ s·R·C + t, so each frame observes the
canonical shape C = Rᵀ(V − t)/s; expression is C − identity (the reconstruction is exact by construction) and identity
is a slow average of C.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from lcvd.face.geometry import fit_similarity
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
    rotation, translation = np.empty((3, 3), np.float32), np.empty(3, np.float32)
    observed = np.empty((len(neutral), 3), np.float32)
    scale = _solve(points_px, neutral, weights, rotation, translation, observed)
    return Pose(rotation, translation, scale, observed)


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
            pull = np.float32(dt), np.float32(self._settle_s), np.float32(self._memory_s)
            shape, neutral = self.shape.copy(), self._mesh.neutral
            _learn(shape, self._seen, pose.observed, self._trusts(pose), self._mouth, self._eyes, pull)
            _put_back(shape, neutral, self._weights)
            self.shape = shape
        return self.shape.copy()

    def _trusts(self, pose: Pose) -> tuple[np.float32, np.float32, np.float32]:
        """Return how far, in [0,1], this frame tells the neutral shape: as a whole, of the mouth, of the lids."""
        frontal = (float(pose.rotation[2, 2]) - 0.6) / 0.3  # cos of the angle to the camera
        c = pose.observed
        mouth = math.dist(c[13], c[14])  # inner lips, cm
        eyes = min(math.dist(c[159], c[145]), math.dist(c[386], c[374]))  # lids, cm
        return _share(frontal), _share((0.6 - mouth) / 0.4), _share((eyes - 0.4) / 0.3)


def _share(value: float) -> np.float32:
    return np.float32(min(max(value, 0.0), 1.0))


def _reach(mesh: MeshTopology, region: str, radius_cm: float) -> FloatArray:
    """[V] 1 on a region, falling to 0 at `radius_cm` from it."""
    gap = mesh.neutral[:, None] - mesh.neutral[mesh.regions[region]][None]
    near = np.sqrt((gap**2).sum(-1)).min(1)
    return np.clip(1 - near / radius_cm, 0, 1).astype(np.float32)


@njit(cache=True, nogil=True)
def _solve(points, neutral, weights, rotation, translation, observed):  # type: ignore[no-untyped-def]
    """Write the pose of `points` in the picture, and what they are in canonical space; return the scale."""
    count = points.shape[0]
    src, up = np.empty((count, 3)), np.empty((count, 3))
    w = np.empty(count)
    for i in range(count):
        w[i] = weights[i]
        for c in range(3):
            src[i, c], up[i, c] = neutral[i, c], points[i, c]
        up[i, 1] = -up[i, 1]
    turn, shift = np.empty((3, 3)), np.empty(3)
    scale = fit_similarity(src, up, w, turn, shift)
    for i in range(count):
        for c in range(3):
            total = 0.0
            for d in range(3):
                total += (up[i, d] - shift[d]) * turn[d, c]
            observed[i, c] = total / scale
    for c in range(3):  # of a whole array numba compiles the words of its errors too: 5 s at the first start
        for d in range(3):
            rotation[c, d] = turn[c, d]
    translation[0], translation[1], translation[2] = shift[0], -shift[1], shift[2]
    return scale


@njit(cache=True, nogil=True, error_model="numpy")
def _learn(shape, seen, observed, trusts, mouth, eyes, pull):  # type: ignore[no-untyped-def]
    """Draw `shape` [V,3] to `observed` [V,3] as far as it is evidence, of which `seen` [V] s have been seen."""
    one = np.float32(1.0)
    whole, closed, awake = trusts
    dt, settle, memory = pull
    for i in range(shape.shape[0]):
        weight = dt * whole * (one - mouth[i] * (one - closed)) * (one - eyes[i] * (one - awake))
        seen[i] = min(seen[i] + weight, memory)
        gain = weight / (settle + seen[i])
        for c in range(3):
            shape[i, c] += gain * (observed[i, c] - shape[i, c])


@njit(cache=True, nogil=True)
def _put_back(shape, neutral, weights):  # type: ignore[no-untyped-def]
    """Move `shape` [V,3] as a whole to where those points of it that have weight fit `neutral` [V,3]."""
    count = shape.shape[0]
    src, dst, w = np.empty((count, 3)), np.empty((count, 3)), np.empty(count)
    for i in range(count):
        w[i] = weights[i]
        for c in range(3):
            src[i, c], dst[i, c] = shape[i, c], neutral[i, c]
    turn, shift = np.empty((3, 3)), np.empty(3)
    scale = fit_similarity(src, dst, w, turn, shift)
    for i in range(count):
        for c in range(3):
            moved = turn[c, 0] * src[i, 0] + turn[c, 1] * src[i, 1] + turn[c, 2] * src[i, 2]
            shape[i, c] = scale * moved + shift[c]
