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

from engine.relighting.least_squares import normal_equations, predict, ridge_solve
from lcvd.face.geometry import picture_normals
from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.lighting.sh import Y00, Y1, Y2, Y20, sh_basis
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


PRIOR = prior().astype(np.float64)
FRONT = sh_basis(np.array([0.0, 0.0, 1.0])).astype(np.float64)  # of a normal that faces the camera


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
        normals = picture_normals(face.vertices_px, self._all)
        basis, bright = np.empty((len(self._triangles), 9)), np.empty(len(self._triangles))
        radius = max(round(0.012 * face.width_px), 1)
        count = _gather(rgb, face.vertices_px, normals, self._triangles, radius, basis, bright)
        if count < MIN_SAMPLES:
            return self.coefficients
        basis, bright = basis[:count], bright[:count]
        dt_s = 1e3 if self._t_s is None else max(face.t_s - self._t_s, 0.0)
        self._t_s = face.t_s
        level = max(float(np.median(bright)), 1e-4)
        keep = np.exp(-dt_s / EXPOSURE_S)
        self._exposure = keep * self._exposure + (1 - keep) * level if self._exposure else level
        normal, right = _robust_equations(basis, bright / self._exposure, RIDGE, PRIOR)
        keep = np.exp(-dt_s / MEMORY_S)
        self._normal = keep * self._normal + (1 - keep) * normal
        self._right = keep * self._right + (1 - keep) * right
        fit = ridge_solve(self._normal, self._right, RIDGE, PRIOR)
        front = float(FRONT @ fit)
        middle = float(np.median(basis @ fit))
        self.coefficients = (fit / max(0.5 * (front + middle), 0.2)).astype(np.float32)
        return self.coefficients


def sample_triangles(mesh: MeshTopology) -> NDArray[np.int32]:
    """Return the skin triangles [S,3] that touch neither lips, eyes, brows nor the mesh's rim."""
    out = np.zeros(len(mesh.neutral), bool)
    for name in EXCLUDED:
        out[mesh.regions[name]] = True
    keep = np.asarray(mesh.skin_triangles, bool) & ~out[mesh.triangles].any(1)
    return np.ascontiguousarray(mesh.triangles[keep])


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _gather(rgb, vertices, normals, triangles, radius, basis, bright):  # type: ignore[no-untyped-def]
    """Write SH basis and light of each triangle that is seen well, and return their count.

    Its light is the mean luma of squared code values in a small square around its middle. Triangles that lie at the
    picture's edge, are clipped, or show the rim rather than the skin are left out.
    """
    height, width = rgb.shape[0], rgb.shape[1]
    third, count = np.float32(1 / 3), 0
    n = np.empty(3, np.float32)
    for s in range(triangles.shape[0]):
        i, j, k = triangles[s, 0], triangles[s, 1], triangles[s, 2]
        x = int((vertices[i, 0] + vertices[j, 0] + vertices[k, 0]) * third)
        y = int((vertices[i, 1] + vertices[j, 1] + vertices[k, 1]) * third)
        for c in range(3):
            n[c] = normals[i, c] + normals[j, c] + normals[k, c]
        n /= max(np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), np.float32(1e-6))
        inside = x >= radius and y >= radius and x < width - radius and y < height - radius
        if not inside or not n[2] > np.float32(MIN_Z):
            continue
        total, peak = np.float32(0.0), 0
        for v in range(y - radius, y + radius + 1):
            for u in range(x - radius, x + radius + 1):
                r, g, b = np.float32(rgb[v, u, 0]), np.float32(rgb[v, u, 1]), np.float32(rgb[v, u, 2])
                total += np.float32(LUMA_R) * r * r + np.float32(LUMA_G) * g * g + np.float32(LUMA_B) * b * b
                peak = max(peak, rgb[v, u, 1])
        if peak >= 254:
            continue
        nx, ny, nz = n[0], n[1], n[2]
        basis[count, 0] = Y00
        basis[count, 1], basis[count, 2], basis[count, 3] = Y1 * ny, Y1 * nz, Y1 * nx
        basis[count, 4], basis[count, 5], basis[count, 7] = Y2 * nx * ny, Y2 * ny * nz, Y2 * nx * nz
        basis[count, 6], basis[count, 8] = Y20 * (3 * nz * nz - 1), 0.5 * Y2 * (nx * nx - ny * ny)
        # Squared code values → light as a 2.2 display shows it, the space of engine.relighting.shading's ratio.
        bright[count] = (total / np.float32((2 * radius + 1) ** 2 * 255.0 * 255.0)) ** 1.1
        count += 1
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _robust_equations(basis, y, ridge, start):  # type: ignore[no-untyped-def]
    """Return the normal matrix [9,9] and right side [9] of `basis` [N,9] and `y` [N] after IRLS.

    They are per sample, so that all frames weigh alike. `ridge` [9] draws each fit to `start` [9].
    """
    count = len(y)
    size, weight = np.empty(count), np.empty(count)
    normal, right = np.zeros((9, 9)), np.zeros(9)
    # The first weights come from the prior, because plain least squares would already fit a beard.
    fit = np.median(y) * start
    for rounds in range(ROUNDS + 1):
        predict(basis, fit, size)
        for i in range(count):
            size[i] = abs(y[i] - size[i])
        reach = TUKEY * (1.4826 * np.median(size) + 0.02)
        for i in range(count):
            u = min(size[i] / reach, 1.0)
            # Bright skin is no more reliable than dark skin.
            weight[i] = (1 - u * u) ** 2 / (0.3 + y[i]) / count
        if rounds == ROUNDS:
            break
        normal_equations(basis, y, weight, normal, right)
        fit = ridge_solve(normal, right, ridge, start)
    return normal, right
