"""Face geometry: the canonical mesh, vertex normals, and the similarity transform between two point sets.

The canonical mesh is ours (`lcvd/data/build_canonical_face.py`): 468 points and 898 triangles of MediaPipe's topology,
in cm, +x right in the picture, +y up, +z to the viewer, left-right symmetric about x = 0, eyes 6.3 cm apart,
forehead top and chin at one depth, origin inside the head between the ears' front and the nose (the nose tip is at
z = 7.6). "left" and "right" in region names are the person's own, as in MediaPipe: left_eye is at +x.
"""

from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.types import FloatArray, MeshTopology

CANONICAL_FILE = "canonical_face.npz"
Points = NDArray[np.floating]  # [N,3]


class Similarity(NamedTuple):
    """dst ≈ scale · rotation @ src + translation."""

    scale: float
    rotation: FloatArray  # [3,3], determinant +1
    translation: FloatArray  # [3]


@cache
def face_mesh() -> MeshTopology:
    """Load the canonical face once. Its arrays are read-only."""
    with resources.files("lcvd.data").joinpath(CANONICAL_FILE).open("rb") as file, np.load(file) as data:
        arrays = {key: _frozen(data[key]) for key in data.files}
    regions = {key.removeprefix("region_"): value for key, value in arrays.items() if key.startswith("region_")}
    return MeshTopology(
        name="mediapipe-468",
        neutral=arrays["neutral"],
        triangles=arrays["triangles"],
        skin_triangles=arrays["skin_triangles"],
        regions=regions,
    )


@cache
def mirror_pairs() -> NDArray[np.int32]:
    """Return [V] the vertex on the other side of the face; an involution, the midline maps to itself.

    To mirror a mesh: negate x, then index with this.
    """
    with resources.files("lcvd.data").joinpath(CANONICAL_FILE).open("rb") as file, np.load(file) as data:
        return _frozen(data["mirror"])


def _frozen(array: NDArray) -> NDArray:
    array.setflags(write=False)
    return array


@njit(cache=True, nogil=True, fastmath=False)
def _accumulate_normals(vertices: FloatArray, triangles: NDArray[np.int32], out: FloatArray) -> None:
    out[:] = 0.0
    for m in range(triangles.shape[0]):
        i, j, k = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        ax = vertices[j, 0] - vertices[i, 0]
        ay = vertices[j, 1] - vertices[i, 1]
        az = vertices[j, 2] - vertices[i, 2]
        bx = vertices[k, 0] - vertices[i, 0]
        by = vertices[k, 1] - vertices[i, 1]
        bz = vertices[k, 2] - vertices[i, 2]
        nx = ay * bz - az * by
        ny = az * bx - ax * bz
        nz = ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 1e-12:
            out[v, 0] /= length
            out[v, 1] /= length
            out[v, 2] /= length
        else:
            out[v, 2] = 1.0


def vertex_normals(vertices: FloatArray, triangles: NDArray[np.int32]) -> FloatArray:
    """Unit normals [V,3] of vertices [V,3] in right-handed axes (y up), triangles [M,3] counter-clockwise from outside.

    Area-weighted mean of the adjacent facets (Gouraud 1971); a vertex without area gets (0, 0, 1).
    For `Face.vertices_px` (y down) use `picture_normals`.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ShapeError(f"vertices: expected [V,3], got {list(vertices.shape)}")
    out = np.empty((len(vertices), 3), np.float32)
    _accumulate_normals(np.ascontiguousarray(vertices, np.float32), triangles, out)
    return out


def picture_normals(vertices_px: FloatArray, triangles: NDArray[np.int32]) -> FloatArray:
    """Unit normals [V,3] in y-up axes for vertices in the picture (x right, y down, z to the viewer)."""
    return vertex_normals(vertices_px * np.array([1, -1, 1], np.float32), triangles)


def similarity(src: Points, dst: Points, weights: Points | None = None) -> Similarity:
    """The weighted least-squares similarity dst ≈ s·R·src + t (Umeyama 1991, eqs. 34–42; Kabsch with scale).

    src, dst [N,3], weights [N] ≥ 0 (ones if absent). With centred a = src − ā, b = dst − b̄ and
    Σ = Σᵢ wᵢ bᵢ aᵢᵀ = U D Vᵀ: R = U S Vᵀ, S = diag(1, 1, det(U Vᵀ)), s = tr(D S) / Σᵢ wᵢ |aᵢ|², t = b̄ − s R ā.
    A degenerate source (all points equal, or no weight) gives the identity with scale 1.
    """
    if src.shape != dst.shape or src.ndim != 2 or src.shape[1] != 3:
        raise ShapeError(f"src {list(src.shape)} and dst {list(dst.shape)}: expected two [N,3]")
    w = np.ones(len(src)) if weights is None else weights.astype(np.float64)
    total = w.sum()
    if total <= 0:
        return Similarity(1.0, np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    w = w / total
    src_mean, dst_mean = w @ src, w @ dst
    a, b = src - src_mean, dst - dst_mean
    spread = float(w @ np.einsum("ij,ij->i", a, a))
    u, d, vt = np.linalg.svd((b * w[:, None]).T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    rotation = (u * signs) @ vt
    if spread < 1e-12:
        rotation, scale = np.eye(3), 1.0
    else:
        scale = float(d @ signs) / spread
    return Similarity(scale, rotation.astype(np.float32), (dst_mean - scale * rotation @ src_mean).astype(np.float32))
