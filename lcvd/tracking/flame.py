"""FLAME: shape, expression and pose → head vertices, landmarks and a Face in the picture; numpy only.

Li et al. 2017, "Learning a model of facial shape and expression from 4D scans", eqs. 1–5: T = template + B_S(β) +
B_E(ψ) + B_P(θ), joints J(β,ψ) regressed from the shaped vertices, linear blend skinning over root, neck, jaw and two
eyes. Metres; +x right in the picture, +y up, +z to the viewer, as in lcvd. Poses are axis-angle.
Works in the floating type of its arrays, so that tests can ask float64. The files: `lcvd.tracking.flame_files`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.types import MeshTopology

Array = NDArray[np.floating]
ROOT, NECK, JAW, LEFT_EYE, RIGHT_EYE = range(5)
JOINTS = 5
MAX_CONTOUR_DEG = 39  # the contour's look-up table: 0…39° one way, then 1…39° the other


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkEmbedding:
    """DECA's landmark_embedding.npy: points of the 68-point scheme as triangle + barycentrics.

    `contour_*` follow the silhouette of a turned head (17 points, one row per degree), `inner_*` are the other 51,
    `full_*` all 68 fixed on the surface.
    """

    contour_triangles: NDArray[np.int64]  # [79,17]
    contour_weights: Array  # [79,17,3]
    inner_triangles: NDArray[np.int64]  # [51]
    inner_weights: Array  # [51,3]
    full_triangles: NDArray[np.int64]  # [68]
    full_weights: Array  # [68,3]


def rodrigues(axis_angle: Array) -> Array:
    """Axis-angle vectors [...,3] in radians → rotation matrices [...,3,3] (Rodrigues' formula; exact at zero)."""
    v = np.asarray(axis_angle)
    if v.shape[-1:] != (3,):
        raise ShapeError(f"axis_angle has shape {list(v.shape)}", "give [...,3]")
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    small = angle < 1e-6  # below it the series is exact in double precision and 0/0 is not
    safe = np.where(small, 1.0, angle).astype(v.dtype)
    first = np.where(small, 1 - angle**2 / 6, np.sin(safe) / safe).astype(v.dtype)
    second = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2).astype(v.dtype)
    zero = np.zeros_like(v[..., 0])
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape[:-1], 3, 3)
    return np.eye(3, dtype=v.dtype) + first * k + second * (k @ k)


@dataclass(frozen=True, slots=True, eq=False)
class Flame:
    """The FLAME model. The licensed one has V = 5023 vertices and J = 5 joints."""

    template: Array  # [V,3] m
    shape_basis: Array  # [V,3,S]
    expression_basis: Array  # [V,3,E]
    pose_basis: Array  # [V,3,9(J-1)] of (R - I) of all joints but the root, row by row
    joint_regressor: Array  # [J,V]
    parents: tuple[int, ...]  # of each joint; -1 for the root; a parent comes before its child
    weights: Array  # [V,J] of the skinning, rows sum to 1
    mesh: MeshTopology
    embedding: LandmarkEmbedding | None = None

    def shaped(self, shape: Array, expression: Array) -> Array:
        """Add blend shapes to the template, [V,3], before any pose. Coefficients that are not given are zero."""
        out = self.template.copy()
        for basis, weights in ((self.shape_basis, shape), (self.expression_basis, expression)):
            weights = np.asarray(weights, self.template.dtype)
            if weights.ndim != 1 or len(weights) > basis.shape[2]:
                raise ShapeError(f"coefficients have shape {list(weights.shape)}", f"give [≤{basis.shape[2]}]")
            # Flat: one product of a tall matrix, not thousands of small ones.
            out += (basis.reshape(-1, basis.shape[2])[:, : len(weights)] @ weights).reshape(out.shape)
        return out

    def joints(self, shaped: Array) -> Array:
        """Regress the joints [J,3] at rest from shaped vertices [V,3]."""
        return self.joint_regressor @ shaped

    def skin(self, shaped: Array, rotations: Array) -> Array:
        """Apply pose correctives and linear blend skinning to shaped vertices [V,3] by joint rotations [J,3,3]."""
        rotations = np.asarray(rotations, self.template.dtype)
        if rotations.shape != (len(self.parents), 3, 3):
            raise ShapeError(f"rotations have shape {list(rotations.shape)}", f"give [{len(self.parents)},3,3]")
        rest = self.joints(shaped)
        feature = (rotations[1:] - np.eye(3, dtype=rotations.dtype)).ravel()
        posed = shaped + (self.pose_basis.reshape(-1, len(feature)) @ feature).reshape(shaped.shape)
        # World transform of each joint: x → turn[j] @ x + shift[j]; a joint's own place moves with its parent.
        turn, shift = np.empty_like(rotations), np.empty_like(rest)
        for j, parent in enumerate(self.parents):
            turn[j] = rotations[j] if parent < 0 else turn[parent] @ rotations[j]
            place = rest[j] if parent < 0 else turn[parent] @ rest[j] + shift[parent]
            shift[j] = place - turn[j] @ rest[j]
        blended = (self.weights @ turn.reshape(-1, 9)).reshape(-1, 3, 3)
        return np.einsum("vab,vb->va", blended, posed) + self.weights @ shift

    def rotations(self, pose: Array, neck: Array | None = None, eyes: Array | None = None) -> Array:
        """[J,3,3] of DECA's pose [6] = global 3 + jaw 3; neck [3] and eyes [6] (left, right) are zero in DECA."""
        pose = np.asarray(pose, self.template.dtype)
        if pose.shape != (6,):
            raise ShapeError(f"pose has shape {list(pose.shape)}", "give [6]: global 3, jaw 3")
        full = np.zeros((JOINTS, 3), pose.dtype)
        full[ROOT], full[JAW] = pose[:3], pose[3:]
        if neck is not None:
            full[NECK] = neck
        if eyes is not None:
            full[LEFT_EYE:] = np.reshape(eyes, (2, 3))
        return rodrigues(full)

    def vertices(self, shape: Array, expression: Array, pose: Array) -> Array:
        """Return the vertices [V,3] in metres for DECA's coefficients."""
        return self.skin(self.shaped(shape, expression), self.rotations(pose))

    def points(self, vertices: Array, triangles: NDArray[np.int64], weights: Array) -> Array:
        """Return surface points [L,3] at barycentrics [L,3] of triangles [L]."""
        return np.einsum("lkc,lk->lc", vertices[self.mesh.triangles[triangles]], weights)

    def landmarks(self, vertices: Array, pose: Array, neck: Array | None = None) -> Array:
        """68 points [68,3] whose 17 contour points follow the silhouette (DECA's landmarks2d).

        The row of the look-up table is the head's turn about the vertical in whole degrees (root times neck).
        """
        if self.embedding is None:
            raise ShapeError("this FLAME has no landmark embedding", "give landmark_embedding.npy")
        turn = self.rotations(pose, neck)
        head = turn[ROOT] @ turn[NECK]
        yaw = np.degrees(np.arctan2(-head[2, 0], np.hypot(head[0, 0], head[1, 0])))
        degrees = int(np.rint(np.clip(yaw, -MAX_CONTOUR_DEG, MAX_CONTOUR_DEG)))
        row = degrees if degrees >= 0 else MAX_CONTOUR_DEG - degrees
        e = self.embedding
        contour = self.points(vertices, e.contour_triangles[row], e.contour_weights[row])
        return np.concatenate([contour, self.points(vertices, e.inner_triangles, e.inner_weights)])

    def full_landmarks(self, vertices: Array) -> Array:
        """68 points [68,3] fixed on the surface (DECA's landmarks3d)."""
        if self.embedding is None:
            raise ShapeError("this FLAME has no landmark embedding", "give landmark_embedding.npy")
        return self.points(vertices, self.embedding.full_triangles, self.embedding.full_weights)


def project(points: Array, camera: Array) -> Array:
    """DECA's orthographic camera [3] = scale, tx, ty: points [N,3] → [N,3] with x right, y DOWN, z to the viewer.

    x and y are in units of half the crop (-1…1 spans it), z in the same unit: s·(x + tx), −s·(y + ty), s·z.
    """
    camera = np.asarray(camera)
    if camera.shape != (3,) or points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError(f"points {list(points.shape)} and camera {list(camera.shape)}", "give [N,3] and [3]")
    s, tx, ty = camera
    return np.stack([s * (points[:, 0] + tx), -s * (points[:, 1] + ty), s * points[:, 2]], 1)
