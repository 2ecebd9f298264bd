"""MeshRegistration lays a face's mesh, known in one picture, onto a later picture by the pixels alone.

A tracked mesh is a rigid body for a few hundredths of a second: turn, scale and shift that make the later picture look
alike at the mesh's points are found by Gauss-Newton steps (Lucas and Kanade 1981; image gradients of both pictures are
averaged as in Benhimane and Malis, "Real-time image-based tracking of planes", 2004). Points that do not fit, as a
mouth that opens, lose their say. It costs a tenth of the landmark network, is steadier than that from frame to frame,
and drifts: a few frames are its reach. `Registered.error` tells whether the answer can be believed.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from lcvd.positive_solve import positive_solve
from lcvd.types import FloatArray, MeshTopology

EXPRESSIVE = ("lips", "inner_lips", "left_eye", "right_eye", "left_brow", "right_brow")
FACE_CELLS = 56  # the picture is averaged to cells, of which a face is about so many wide
MARGIN = 0.3  # of the face's width: the picture is kept so far around the mesh
MIN_Z = 0.25  # of a triangle's normal; what is seen at a smaller angle slides
EVERY, ROUNDS = (4, 2), (4, 4)  # triangles taken, and steps at most, on the coarse cells and on the fine ones
DONE = 0.004  # cells: a step so small ends the search
TUKEY = 3.0  # deviations at which a point has no say any more
LEAST_SPREAD = 1.5  # code values that are always allowed
MAX_TURN = 0.03  # rad: a turn out of the picture's plane by more is unlikely in one step; a weak spring
MAX_GAIN = 0.3  # the same for a change of contrast
LIGHTER = 0.3  # code values: so small a change of the levels ends the search as well
MIN_SAMPLES = 60


class Registered(NamedTuple):
    """A mesh in the later picture."""

    points: FloatArray  # [V,3] as given, moved
    error: float  # mean difference of the pictures at the mesh's points over the contrast there; 0 is the same picture
    changed: float  # the same of lips, eyes and brows alone: whether the face has another expression


class MeshRegistration:
    """Holds one picture of a face. One thread at a time may use it."""

    def __init__(self, mesh: MeshTopology) -> None:
        self._triangles = mesh.triangles
        moves = np.zeros(len(mesh.neutral), np.bool_)
        moves[np.concatenate([mesh.regions[name] for name in EXPRESSIVE])] = True
        self._expressive = moves[mesh.triangles].any(1)
        count = len(mesh.triangles)
        self._at = np.empty((2, count, 4), np.float32)  # x, y, z, and 1 where it is expressive
        self._seen = np.empty((2, count, 3), np.float32)  # level and gradient of the picture there
        self._counts = [0, 0]
        self._points: FloatArray | None = None

    def keep(self, rgb: NDArray[np.uint8], points: FloatArray) -> None:
        """Take the picture `rgb` [H,W,3] and the mesh in it, `points` [V,3] (x right, y down, z to the viewer, px)."""
        self._points = points
        self._step = max(int(np.ptp(points[:, 0]) / FACE_CELLS), 1)
        for level, (cells, x0, y0) in enumerate(self._cells(rgb, points)):
            size = np.float32(self._step * (2 - level))
            self._counts[level] = _sample(
                cells,
                points,
                np.float32(x0),
                np.float32(y0),
                size,
                self._triangles,
                self._expressive,
                EVERY[level],
                self._at[level],
                self._seen[level],
            )

    def follow(self, rgb: NDArray[np.uint8], guess: FloatArray | None = None) -> Registered | None:
        """Return the kept mesh in `rgb` [H,W,3], searched from `guess` [2] px on; None: too little is seen."""
        if self._points is None or min(self._counts) < MIN_SAMPLES:
            return None
        shift = np.zeros(2, np.float32) if guess is None else guess.astype(np.float32)
        moved = self._points.copy()
        moved[:, :2] += shift
        motion = np.eye(3, 4, dtype=np.float64)  # of points about the mesh's middle: [sR | t]
        motion[:2, 3] = shift
        middle = self._points.mean(0).astype(np.float64)
        tone = np.array([1.0, 0.0])  # gain and bias of the later picture's levels
        errors = np.ones(2)
        for level, (cells, x0, y0) in enumerate(self._cells(rgb, moved)):
            size = float(self._step * (2 - level))
            count = self._counts[level]
            _register(
                cells,
                float(x0),
                float(y0),
                size,
                self._at[level, :count],
                self._seen[level, :count],
                middle,
                motion,
                tone,
                ROUNDS[level],
                errors,
            )
        if not errors[0] < 1:
            return None
        points = (self._points - middle) @ motion[:, :3].T + middle + motion[:, 3]
        return Registered(points.astype(np.float32), float(errors[0]), float(errors[1]))

    def _cells(self, rgb: NDArray[np.uint8], points: FloatArray) -> list[tuple[FloatArray, int, int]]:
        """Return the part of the picture around `points` as coarse and fine cells, each with its corner in px."""
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        margin = MARGIN * float(high[0] - low[0])
        step, size = 2 * self._step, (rgb.shape[1], rgb.shape[0])
        x0, y0 = (int(np.clip(low[c] - margin, 0, size[c])) for c in range(2))
        cols, rows = (int(min(high[c] + margin, size[c]) - (x0, y0)[c]) // step for c in range(2))
        if cols < 8 or rows < 8:
            return []
        part = rgb[y0 : y0 + rows * step, x0 : x0 + cols * step]
        green = cv2.resize(cv2.extractChannel(part, 1), (2 * cols, 2 * rows), interpolation=cv2.INTER_AREA)
        fine = cv2.blur(green.astype(np.float32), (3, 3), borderType=cv2.BORDER_REPLICATE)
        coarse = cv2.resize(fine, (cols, rows), interpolation=cv2.INTER_AREA)
        return [(coarse, x0, y0), (fine, x0, y0)]  # type: ignore[list-item]


@njit(cache=True, nogil=True, error_model="numpy")
def _sample(cells, points, x0, y0, size, triangles, expressive, every, at, seen):  # type: ignore[no-untyped-def]
    """Write the middle [.,3] of triangles that are seen well, and level and gradient of `cells` there; count."""
    third, half, count = np.float32(1 / 3), np.float32(0.5), 0
    rows, cols = cells.shape
    for m in range(0, triangles.shape[0], every):
        a, b, c = points[triangles[m, 0]], points[triangles[m, 1]], points[triangles[m, 2]]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, uy * vx - ux * vy  # y is down: the last one is turned over
        if nz * nz < np.float32(MIN_Z * MIN_Z) * (nx * nx + ny * ny + nz * nz) or nz <= 0:
            continue
        for k in range(3):
            at[count, k] = (a[k] + b[k] + c[k]) * third
        at[count, 3] = expressive[m]
        x, y = (at[count, 0] - x0) / size - half, (at[count, 1] - y0) / size - half
        j, i = int(np.floor(x)), int(np.floor(y))
        if j < 1 or i < 1 or j > cols - 3 or i > rows - 3:
            continue
        seen[count, 0], seen[count, 1], seen[count, 2] = _look(cells, i, j, x - j, y - i)
        count += 1
    return count


@njit(nogil=True, inline="always")
def _look(cells, i, j, x, y):  # type: ignore[no-untyped-def]
    """Return the level and the gradient between four cells."""
    one, half = np.float32(1.0), np.float32(0.5)
    x, y = np.float32(x), np.float32(y)
    level = (one - y) * ((one - x) * cells[i, j] + x * cells[i, j + 1])
    level += y * ((one - x) * cells[i + 1, j] + x * cells[i + 1, j + 1])
    right = (one - y) * ((one - x) * (cells[i, j + 1] - cells[i, j - 1]) + x * (cells[i, j + 2] - cells[i, j]))
    right += y * ((one - x) * (cells[i + 1, j + 1] - cells[i + 1, j - 1]) + x * (cells[i + 1, j + 2] - cells[i + 1, j]))
    down = (one - x) * ((one - y) * (cells[i + 1, j] - cells[i - 1, j]) + y * (cells[i + 2, j] - cells[i, j]))
    down += x * ((one - y) * (cells[i + 1, j + 1] - cells[i - 1, j + 1]) + y * (cells[i + 2, j + 1] - cells[i, j + 1]))
    return level, half * right, half * down


@njit(cache=True, nogil=True, error_model="numpy")
def _register(cells, x0, y0, size, at, seen, middle, motion, tone, rounds, errors):  # type: ignore[no-untyped-def]
    """Improve `motion` [3,4] px, of points about `middle` [3]. `errors` are 1 where there is no answer."""
    count = at.shape[0]
    rows, cols = cells.shape
    mean, contrast = 0.0, 0.0
    for m in range(count):
        mean += seen[m, 0] / count
    for m in range(count):
        contrast += abs(seen[m, 0] - mean) / count
    gain, bias = tone[0], tone[1]
    j8, matrix, right = np.empty(8), np.empty((8, 8)), np.empty(8)
    spread = 1e3
    errors[:] = 1.0
    for step in range(rounds + 1):
        matrix[:], right[:] = 0.0, 0.0
        total, used, total_moving, moving = 0.0, 0, 0.0, 0.0
        for m in range(count):
            dx, dy, dz = at[m, 0] - middle[0], at[m, 1] - middle[1], at[m, 2] - middle[2]
            qx = motion[0, 0] * dx + motion[0, 1] * dy + motion[0, 2] * dz
            qy = motion[1, 0] * dx + motion[1, 1] * dy + motion[1, 2] * dz
            qz = motion[2, 0] * dx + motion[2, 1] * dy + motion[2, 2] * dz
            x = (middle[0] + qx + motion[0, 3] - x0) / size - 0.5
            y = (middle[1] + qy + motion[1, 3] - y0) / size - 0.5
            u, v = int(np.floor(x)), int(np.floor(y))
            if u < 1 or v < 1 or u > cols - 3 or v > rows - 3:
                continue
            level, gx, gy = _look(cells, v, u, x - u, y - v)
            r = gain * seen[m, 0] + bias - level
            total += abs(r)
            used += 1
            total_moving += at[m, 3] * abs(r)
            moving += at[m, 3]
            share = r / (TUKEY * spread)
            if abs(share) >= 1:
                continue
            w = (1 - share * share) ** 2
            gx, gy = 0.5 * (gx + gain * seen[m, 1]) / size, 0.5 * (gy + gain * seen[m, 2]) / size
            j8[0], j8[1], j8[2] = gx, gy, gx * qx + gy * qy
            j8[3], j8[4], j8[5] = gy * qx - gx * qy, gx * qz, gy * qz
            j8[6], j8[7] = -float(seen[m, 0]), -1.0
            for c in range(8):
                right[c] += w * j8[c] * r
                for d in range(c + 1):
                    matrix[c, d] += w * j8[c] * j8[d]
        if used < MIN_SAMPLES or used < 0.7 * count:
            errors[:] = 1.0
            return
        spread = 1.2 * total / used + LEAST_SPREAD  # where errors are normal, their mean size is 0.8 deviations
        scale = 1 / max(gain * contrast, 1e-3)
        errors[0], errors[1] = scale * total / used, scale * total_moving / max(moving, 1.0)
        if step == rounds:
            break
        for c in (4, 5):
            matrix[c, c] += (spread / MAX_TURN) ** 2
        matrix[6, 6] += (spread / MAX_GAIN) ** 2
        if not positive_solve(matrix, right):
            errors[:] = 1.0
            return
        motion[0, 3] += right[0]
        motion[1, 3] += right[1]
        turned = _product(_turn(right[2], right[3], right[4], right[5]), motion)
        for c in range(3):
            for d in range(3):
                motion[c, d] = turned[c, d]
        gain += right[6]
        bias += right[7]
        tone[0], tone[1] = gain, bias
        lighter = abs(right[6]) * contrast + abs(right[6] * mean + right[7])
        if not (0.5 < gain < 2):
            errors[:] = 1.0
            return
        reach = size * 0.5 * FACE_CELLS
        if (
            max(abs(right[0]), abs(right[1])) + reach * max(abs(right[2]), abs(right[3])) < DONE * size
            and lighter < LIGHTER
        ):
            break


@njit(cache=True, nogil=True)
def _product(a, b):  # type: ignore[no-untyped-def]
    """Return a b [3,3] of a [3,3] and the first columns of b [3,≥3]; numba's own product needs SciPy."""
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                out[i, j] += a[i, k] * b[k, j]
    return out


@njit(cache=True, nogil=True)
def _turn(grow, roll, yaw, pitch):  # type: ignore[no-untyped-def]
    """Return the rotation [3,3] by small angles, times e^grow."""
    skew = np.array([[0.0, -roll, yaw], [roll, 0.0, pitch], [-yaw, -pitch, 0.0]])
    angle = np.sqrt(roll * roll + yaw * yaw + pitch * pitch)
    first, second = 1.0, 0.5
    if angle > 1e-6:
        first, second = np.sin(angle) / angle, (1 - np.cos(angle)) / (angle * angle)
    twice, size = _product(skew, skew), np.exp(grow)
    out = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            out[i, j] = size * ((i == j) + first * skew[i, j] + second * twice[i, j])
    return out
