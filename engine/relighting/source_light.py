"""The light already in the picture is estimated from the face's skin, over time: 9 SH coefficients of irradiance.

Skin is taken as one albedo: brightness y at normal n fits Σ c_k Y_k(n) by iteratively reweighted least squares (Tukey's
biweight, so that brows, beards, glasses and cast shadows drop out), with a ridge toward the light of a usual room (¾
ambient, ¼ from the camera's side). Normal equations and exposure are averaged with a time constant
in the stream's own time, so the estimate is steady. Coefficients are of luminance and scaled to 1 on the face, because
only ratios matter.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.face.geometry import picture_normals
from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.lighting.sh import Y00, Y1, sh_basis
from lcvd.types import Face, FloatArray, MeshTopology

MEMORY_S = 0.32  # time constant: a factor of 0.9 a frame at 30 fps
EXPOSURE_S = 0.2
EVERY_S = 0.045  # a fit costs 1 ms, and an average over a third of a second does not need one each frame
MIN_SAMPLES = 60
MIN_Z = 0.25  # samples at more grazing normals show the rim, not the skin
TUKEY = 2.5
ROUNDS = 4
RIDGE = np.array([1e-4, 0.007, 0.007, 0.007, 0.05, 0.05, 0.05, 0.05, 0.05], np.float64)
EXCLUDED = ("lips", "left_eye", "right_eye", "left_brow", "right_brow", "face_oval")


def prior() -> FloatArray:
    """Return irradiance coefficients [9] of 0.75 ambient + 0.25 · a broad light at the camera; 1 facing the camera."""
    c = np.zeros(9, np.float32)
    c[0] = 0.75 / Y00
    c[2] = 0.25 / Y1
    return c


class SourceLight:
    """Tracks the light of one stream. One thread at a time may use it."""

    def __init__(self, mesh: MeshTopology) -> None:
        self._triangles = sample_triangles(mesh)
        self._all = mesh.triangles
        self.reset()

    def reset(self) -> None:
        """Go back to the prior."""
        self.coefficients: FloatArray = prior()
        self._normal: NDArray[np.float64] = np.zeros((9, 9))
        self._right: NDArray[np.float64] = np.zeros(9)
        self._exposure = 0.0
        self._t_s: float | None = None

    def update(self, rgb: NDArray[np.uint8], face: Face) -> FloatArray:
        """Take in the frame `rgb` [H,W,3] and return the irradiance coefficients [9], 1 on the middle of the face.

        The basis is that of lcvd.lighting.sh. A held face, or one with too few visible samples, changes nothing.
        """
        if face.held or (self._t_s is not None and 0 <= face.t_s - self._t_s < EVERY_S):
            return self.coefficients
        at, normals = _samples(face, self._triangles, picture_normals(face.vertices_px, self._all))
        luma = np.empty(len(at), np.float32)
        _gather(rgb, at, max(round(0.012 * face.width_px), 1), luma)
        good = (normals[:, 2] > MIN_Z) & (luma >= 0)
        if good.sum() < MIN_SAMPLES:
            return self.coefficients
        # Squared code values → light as a 2.2 display shows it, the space of engine.relighting.shading's ratio.
        bright, normals = luma[good].astype(np.float64) ** 1.1, normals[good]
        dt_s = 1e3 if self._t_s is None else max(face.t_s - self._t_s, 0.0)
        self._t_s = face.t_s
        level = max(float(np.median(bright)), 1e-4)
        keep = np.exp(-dt_s / EXPOSURE_S)
        self._exposure = keep * self._exposure + (1 - keep) * level if self._exposure else level
        normal, right = _robust_equations(sh_basis(normals).astype(np.float64), bright / self._exposure)
        keep = np.exp(-dt_s / MEMORY_S)
        self._normal = keep * self._normal + (1 - keep) * normal
        self._right = keep * self._right + (1 - keep) * right
        fit = ridge_solve(self._normal, self._right, RIDGE)
        front = float(sh_basis(np.array([0.0, 0.0, 1.0])) @ fit)
        middle = float(np.median(sh_basis(normals) @ fit))
        self.coefficients = (fit / max(0.5 * (front + middle), 0.2)).astype(np.float32)
        return self.coefficients


def sample_triangles(mesh: MeshTopology) -> NDArray[np.int32]:
    """Return the skin triangles [S,3] that touch neither lips, eyes, brows nor the mesh's rim."""
    out = np.zeros(len(mesh.neutral), bool)
    for name in EXCLUDED:
        out[mesh.regions[name]] = True
    keep = np.asarray(mesh.skin_triangles, bool) & ~out[mesh.triangles].any(1)
    return np.ascontiguousarray(mesh.triangles[keep])


def _samples(face: Face, triangles: NDArray[np.int32], normals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the triangles' centres [S,2] in pixels and unit normals [S,3]."""
    at = face.vertices_px[triangles, :2].mean(1)
    n = normals[triangles].mean(1)
    return at, n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-6)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _gather(rgb, at, radius, out):  # type: ignore[no-untyped-def]
    """Write the mean luma of squared code values in a small square; -1 outside the picture or where it is clipped."""
    height, width = rgb.shape[0], rgb.shape[1]
    for s in range(at.shape[0]):
        x, y = int(at[s, 0]), int(at[s, 1])
        if x < radius or y < radius or x >= width - radius or y >= height - radius:
            out[s] = -1
            continue
        total, peak = np.float32(0.0), 0
        for i in range(y - radius, y + radius + 1):
            for j in range(x - radius, x + radius + 1):
                r, g, b = np.float32(rgb[i, j, 0]), np.float32(rgb[i, j, 1]), np.float32(rgb[i, j, 2])
                total += np.float32(LUMA_R) * r * r + np.float32(LUMA_G) * g * g + np.float32(LUMA_B) * b * b
                peak = max(peak, rgb[i, j, 1])
        count = (2 * radius + 1) ** 2
        out[s] = total / np.float32(count * 255.0 * 255.0)
        if peak >= 254:
            out[s] = -1


def _robust_equations(
    basis: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the normal matrix [9,9] and right side [9] after IRLS, per sample, so that all frames weigh alike."""
    base = 1 / (0.3 + y)  # bright skin is no more reliable than dark skin
    # The first weights come from the prior, because plain least squares would already fit a beard.
    weight = base * _tukey(y - basis @ (np.median(y) * prior()))
    for _ in range(ROUNDS):
        scaled = basis * weight[:, None]
        normal, right = scaled.T @ basis / len(y), scaled.T @ y / len(y)
        weight = base * _tukey(y - basis @ ridge_solve(normal, right, RIDGE))
    return normal, right


def _tukey(residual: NDArray[np.float64]) -> NDArray[np.float64]:
    size = np.abs(residual)
    u = np.minimum(size / (TUKEY * (1.4826 * np.median(size) + 0.02)), 1)
    return (1 - u * u) ** 2


def ridge_solve(
    normal: NDArray[np.float64], right: NDArray[np.float64], ridge: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the coefficients [9] of the normal equations `normal` [9,9], `right` [9], drawn to `prior` by `ridge`."""
    return np.linalg.solve(normal + np.diag(ridge), right + ridge * prior()).astype(np.float64, copy=False)
