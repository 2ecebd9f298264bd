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
    w = np.ones(len(src)) if weights is None else np.asarray(weights, np.float64)
    rotation, translation = np.empty((3, 3)), np.empty(3)
    scale = fit_similarity(np.asarray(src, np.float64), np.asarray(dst, np.float64), w, rotation, translation)
    return Similarity(scale, rotation.astype(np.float32), translation.astype(np.float32))


@njit(cache=True, nogil=True)
def fit_similarity(src, dst, weights, rotation, translation):  # type: ignore[no-untyped-def]
    """Write the similarity of `similarity` to `rotation` [3,3] and `translation` [3], and return its scale.

    R is the unit quaternion that belongs to the greatest eigenvalue of Horn's symmetric matrix of Σ ("Closed-form
    solution of absolute orientation using unit quaternions", 1987): the same rotation, and no LAPACK is called.
    """
    total = 0.0
    a, b = np.zeros(3), np.zeros(3)
    for i in range(src.shape[0]):
        w = weights[i]
        total += w
        for c in range(3):
            a[c] += w * src[i, c]
            b[c] += w * dst[i, c]
    rotation[:] = 0.0
    for c in range(3):
        rotation[c, c] = 1.0
    translation[:] = 0.0
    if total <= 0:
        return 1.0
    a /= total
    b /= total
    s = np.zeros((3, 3))
    spread = 0.0
    for i in range(src.shape[0]):
        w = weights[i] / total
        for c in range(3):
            x = src[i, c] - a[c]
            spread += w * x * x
            for d in range(3):
                s[c, d] += w * x * (dst[i, d] - b[d])
    scale = 1.0
    if spread >= 1e-12:
        values, vectors = _eigen(_horn(s))
        k = np.argmax(values)
        scale = values[k] / spread
        w, x, y, z = vectors[0, k], vectors[1, k], vectors[2, k], vectors[3, k]
        rotation[0, 0], rotation[0, 1], rotation[0, 2] = (
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
        )
        rotation[1, 0], rotation[1, 1], rotation[1, 2] = (
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
        )
        rotation[2, 0], rotation[2, 1], rotation[2, 2] = (
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        )
    for c in range(3):
        moved = rotation[c, 0] * a[0] + rotation[c, 1] * a[1] + rotation[c, 2] * a[2]
        translation[c] = b[c] - scale * moved
    return scale


@njit(cache=True, nogil=True)
def _horn(s):  # type: ignore[no-untyped-def]
    n = np.empty((4, 4))
    n[0, 0] = s[0, 0] + s[1, 1] + s[2, 2]
    n[0, 1] = n[1, 0] = s[1, 2] - s[2, 1]
    n[0, 2] = n[2, 0] = s[2, 0] - s[0, 2]
    n[0, 3] = n[3, 0] = s[0, 1] - s[1, 0]
    for c in range(3):
        for d in range(3):
            n[c + 1, d + 1] = s[c, d] + s[d, c]
        n[c + 1, c + 1] -= n[0, 0]
    return n


@njit(cache=True, nogil=True)
def _eigen(m):  # type: ignore[no-untyped-def]
    """Return the eigenvalues [N] and eigenvectors [N,N] (columns) of a small symmetric matrix, by Jacobi rotations."""
    count = m.shape[0]
    v = np.eye(count)
    for _ in range(20):
        off, size = 0.0, 0.0
        for p in range(count):
            size += m[p, p] * m[p, p]
            for q in range(p):
                off += m[p, q] * m[p, q]
        if off <= 1e-30 * (size + off):
            break
        for p in range(count):
            for q in range(p + 1, count):
                if m[p, q] == 0:
                    continue
                theta = (m[q, q] - m[p, p]) / (2 * m[p, q])
                t = 1 / (abs(theta) + np.sqrt(theta * theta + 1))
                if theta < 0:
                    t = -t
                c = 1 / np.sqrt(t * t + 1)
                s = t * c
                for k in range(count):
                    m[k, p], m[k, q] = c * m[k, p] - s * m[k, q], s * m[k, p] + c * m[k, q]
                for k in range(count):
                    m[p, k], m[q, k] = c * m[p, k] - s * m[q, k], s * m[p, k] + c * m[q, k]
                for k in range(count):
                    v[k, p], v[k, q] = c * v[k, p] - s * v[k, q], s * v[k, p] + c * v[k, q]
    values = np.empty(count)
    for p in range(count):
        values[p] = m[p, p]
    return values, v
