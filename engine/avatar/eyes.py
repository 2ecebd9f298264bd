"""The portrait's eyes: its irises are moved inside their openings by a smooth warp, and the lids follow.

The eyes are found once, by the iris network. In a frame each iris gets a shift in the portrait's pixels. The warp takes
the whole iris along and presses or stretches the white between it and the corners; it ends at the lids. Shifts are
bounded by the white there is, so that none has to be invented. Where a portrait's eyes are hidden, nearly closed, tiny,
turned away or unlike each other, they stay as they are.
"""

import logging
import math
from dataclasses import replace

import numba
import numpy as np
from numpy.typing import NDArray

from engine.avatar.gaze import (
    BALL_CM,
    IRIS_CM,
    RESTING,
    DriverGaze,
    FindEye,
    Gaze,
    angles_of,
    direction_of,
    plausible,
    viewing_direction,
)
from engine.avatar.motion import EYES
from lcvd.lighting.colour import LUMA
from lcvd.tracking.iris import CORNERS, EyePoints
from lcvd.types import Face, FloatArray

log = logging.getLogger(__name__)

AWAY_DEG = 28.0  # a portrait that looks further aside keeps its gaze
LEAST_RADIUS_PX = 3.5
LEAST_OPEN = 0.17  # lid gap over the eye's width
LEAST_CONTRAST = 1.08  # brightness of the white over the iris's
GLARE, MOST_GLARE = 245, 0.12  # code value, and the share of an opening that may be brighter
APART_RAD, RADII_APART = math.radians(16), 1.35  # how far the two eyes may differ
FULL_RAD = math.radians(35)  # within the head; further is compressed
RIM = 1.12  # of the iris, in its radii: the soft border moves with it
LEFT_WHITE = 0.15  # share of the white beside an iris that stays
DOWN, UP = 0.45, 0.35  # radii an iris may move down and up, since what the lids hide is not in the picture
FEATHER = 0.14, 1.2  # width at the lids over which the warp ends: share of the opening's height, least px
STEPS = 64  # columns of the tables of the lids
FOLLOWS, FOLD_FOLLOWS = (
    0.35,
    0.2,
)  # share of the iris's movement up and down that both lids take; the gap is the driver's


class AvatarEyes:
    """Turns the eyes of a portrait [S,S,3] with `face` as the driver turns theirs; does nothing without `find_eye`.

    Where the portrait's eyes cannot be turned, their lids still move by what is seen of the driver's.
    """

    def __init__(self, rgb: NDArray[np.uint8], face: Face, find_eye: FindEye | None) -> None:
        self._shift = np.zeros(2, np.float32)
        self._eyes = PortraitEyes(rgb, face, find_eye) if find_eye is not None else None
        if self._eyes is not None and self._eyes.reason:
            log.info("the portrait keeps its gaze: %s", self._eyes.reason)
            self._eyes = None
        self._driver = DriverGaze(find_eye) if find_eye is not None else None
        self._gaze = RESTING

    def reset(self) -> None:
        """Forget the driver."""
        if self._driver is not None:
            self._driver.reset()

    def watch(self, rgb: NDArray[np.uint8], driver: Face | None) -> Gaze:
        """Take in the driver's frame [H,W,3] and return the gaze, held while no face is seen, as the pose is."""
        if self._driver is not None and driver is not None and not driver.held:
            self._gaze = self._driver.update(rgb, driver)
        return self._gaze

    def look(self, face: Face) -> Face:
        """Return the portrait's moved `face` with its lids following the gaze."""
        if self._eyes is None:
            return face
        self._shift = self._eyes.shift(self._gaze, face)
        return self._eyes.follow(face, self._shift)

    def warp(self, uv_map: FloatArray, face: Face) -> None:
        """Move the irises in `uv_map` [S,S,2], in place, as the last `look` decided; `face` is what it returned."""
        if self._eyes is not None:
            self._eyes.warp(uv_map, face, self._shift)


class PortraitEyes:
    """The eyes of one portrait [S,S,3] with `face`. `reason` says why they keep their gaze; "" where they can move."""

    def __init__(self, rgb: NDArray[np.uint8], face: Face, find_eye: FindEye) -> None:
        self._face = face
        eyes = [find_eye(rgb, face.vertices_px, eye) for eye in (0, 1)]
        self.reason = _reason(rgb, face, eyes)
        self._tables = np.stack([_table(eye) for eye in eyes])
        self._frames = np.stack([_frame(eye) for eye in eyes])
        self._ball_px = float(np.mean([eye.radius for eye in eyes])) * BALL_CM / IRIS_CM
        looks = np.mean([viewing_direction(eye, face) for eye in eyes], axis=0)
        self._looks = (looks / np.linalg.norm(looks)).astype(np.float32)

    def shift(self, gaze: Gaze, face: Face) -> FloatArray:
        """Return the shift [2] of both irises in px of the portrait (y down) when its head has moved to `face`."""
        wanted = direction_of(angles_of(self._looks) + gaze.angles)
        rest, now = self._face.rotation, face.rotation
        before, after = angles_of(rest.T @ self._looks), angles_of(now.T @ wanted)
        turn = np.float32(FULL_RAD) * np.tanh((after - before) / np.float32(FULL_RAD)) * np.float32(gaze.amount)
        seen = rest @ direction_of(before + turn) - self._looks
        return np.asarray(self._ball_px * seen[:2] * np.array([1, -1]), np.float32)

    def warp(self, uv_map: FloatArray, face: Face, shift: FloatArray) -> None:
        """Move the irises by `shift` [2] px in `uv_map` [S,S,2], in place; `face` is the moved portrait's."""
        size = uv_map.shape[0]
        for eye, (upper, lower, _) in enumerate(EYES):
            at = face.vertices_px[[*upper, *lower, *CORNERS[eye]], :2]
            left, top = np.maximum(np.floor(at.min(0)).astype(int) - 2, 0)
            right, bottom = np.minimum(np.ceil(at.max(0)).astype(int) + 3, size)
            if left < right and top < bottom:
                _warp(uv_map[top:bottom, left:right], self._tables[eye], self._frames[eye], shift)

    def follow(self, face: Face, shift: FloatArray) -> Face:
        """Return the moved `face` with its lids following a `shift` [2] px of the irises."""
        down = float(shift[1]) * face.scale_px_per_cm / self._face.scale_px_per_cm
        if abs(down) < 1e-3:
            return face
        vertices = face.vertices_px.copy()
        along = -face.rotation[:2, 1] * np.array([1, -1], np.float32)  # down along the face, in the picture
        vertices[_LIDS, :2] += _FOLLOWS * (np.float32(down) * along)
        return replace(face, vertices_px=vertices)


_BOW = np.sin(np.pi * (np.arange(7) + 1) / 8) ** 0.5  # least at the corners, where lids meet
_LIDS = np.array(EYES).reshape(-1)  # of both eyes: upper, lower, fold
_FOLLOWS = np.tile(np.outer([FOLLOWS, FOLLOWS, FOLD_FOLLOWS], _BOW).reshape(-1), 2)[:, None].astype(np.float32)


def _reason(rgb: NDArray[np.uint8], face: Face, eyes: list[EyePoints]) -> str:
    if float(face.rotation[2, 2]) < math.cos(math.radians(AWAY_DEG)):
        return "the head is turned away"
    for eye in eyes:
        if not plausible(eye, face) or eye.radius < LEAST_RADIUS_PX:
            return "an eye is tiny or hidden"
        if eye.gap < LEAST_OPEN * eye.width:
            return "an eye is nearly closed"
        contrast, glare = _contrast(rgb, eye)
        if glare > MOST_GLARE:
            return "glare covers an eye"
        if contrast < LEAST_CONTRAST:
            return "an iris does not stand out"
    a, b = (angles_of(viewing_direction(eye, face)) for eye in eyes)
    radii = sorted(eye.radius for eye in eyes)
    if np.linalg.norm(a - b) > APART_RAD or radii[1] > RADII_APART * radii[0]:
        return "the eyes differ"
    return ""


def _contrast(rgb: NDArray[np.uint8], eye: EyePoints) -> tuple[float, float]:
    """Return the brightness of the white over the iris's, and the share of the opening that glares."""
    frame, table = _frame(eye), _table(eye)
    reach = int(0.6 * eye.width) + 2
    x, y = (int(v) for v in eye.corners.mean(0))
    rows, cols = np.mgrid[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach]
    rows, cols = (np.minimum(v, side - 1) for v, side in zip((rows, cols), rgb.shape, strict=False))
    away = np.stack([cols + 0.5 - frame[0], rows + 0.5 - frame[1]], -1)
    along, down = away @ frame[2:4], away @ np.array([-frame[3], frame[2]])
    column = along / frame[4] * (STEPS - 1)
    high, low = (np.interp(column, np.arange(STEPS), row) for row in table)
    inside = (along > 0) & (along < frame[4]) & (down > high) & (down < low)
    luma = rgb[rows, cols].astype(np.float32) @ LUMA.astype(np.float32)
    from_iris = np.hypot(along - frame[5], down - frame[6])
    iris, white = inside & (from_iris < 0.8 * eye.radius), inside & (from_iris > 1.25 * eye.radius)
    if iris.sum() < 8 or white.sum() < 8:
        return 0.0, 1.0
    return float(np.median(luma[white]) / max(np.median(luma[iris]), 1.0)), float((luma[inside] > GLARE).mean())


def _frame(eye: EyePoints) -> FloatArray:
    """Return [8]: picture-left corner x, y; unit axis to the other corner; width; iris along and below it; radius."""
    left, right = sorted(eye.corners, key=lambda corner: float(corner[0]))
    axis = (right - left) / max(eye.width, 1e-3)
    iris = eye.iris - left
    along, down = float(iris @ axis), float(iris @ np.array([-axis[1], axis[0]]))
    return np.array([*left, *axis, eye.width, along, down, eye.radius], np.float32)


def _table(eye: EyePoints) -> FloatArray:
    """Return [2,STEPS]: how far below the corners' line the upper and the lower lid run, from picture-left to right."""
    frame = _frame(eye)
    rows = []
    for lid in (eye.upper, eye.lower):
        points = np.vstack([eye.corners[:1], lid, eye.corners[1:]]) - frame[:2]
        along, down = points @ frame[2:4], points @ np.array([-frame[3], frame[2]], np.float32)
        order = np.argsort(along)
        rows.append(np.interp(np.linspace(0, eye.width, STEPS), along[order], down[order]))
    return np.asarray(rows, np.float32)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _warp(uv, table, frame, shift):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0.0), np.float32(1.0)
    x0, y0, ax, ay, width = frame[0], frame[1], frame[2], frame[3], frame[4]
    middle, rim = frame[5], frame[7] * np.float32(RIM)
    along, down = shift[0] * ax + shift[1] * ay, -shift[0] * ay + shift[1] * ax
    # Soft bounds: the white on the side it moves to, and what the lids hide.
    white = (width - middle - rim) if along > 0 else (middle - rim)
    most = max(np.float32(1 - LEFT_WHITE) * white, np.float32(0.1))
    along = _within(along, most)
    most = frame[7] * np.float32(DOWN if down > 0 else UP)
    down = _within(down, most)
    first, last = max(middle + along - rim, np.float32(1.0)), min(middle + along + rim, width - one)
    per_px = np.float32(STEPS - 1) / width
    for i in range(uv.shape[0]):
        for j in range(uv.shape[1]):
            u, v = uv[i, j, 0] - x0, uv[i, j, 1] - y0
            a, b = u * ax + v * ay, -u * ay + v * ax
            if a <= zero or a >= width:
                continue
            high, low = _lids(table, a * per_px)
            depth = min(b - high, low - b)
            if depth <= zero:
                continue
            feather = max(np.float32(FEATHER[0]) * (low - high), np.float32(FEATHER[1]))
            soft = min(depth / feather, one)
            soft = soft * soft * (np.float32(3.0) - np.float32(2.0) * soft)
            weight = one
            if a < first:
                weight = a / first
            elif a > last:
                weight = (width - a) / (width - last)
            weight = weight * weight * (np.float32(3.0) - np.float32(2.0) * weight)
            a -= along * weight * soft
            b -= down * weight * soft
            high, low = _lids(table, a * per_px)
            inset = min(np.float32(0.5) * feather * soft, np.float32(0.5) * max(low - high, zero))
            b = min(max(b, high + inset), low - inset)
            uv[i, j, 0] = x0 + a * ax - b * ay
            uv[i, j, 1] = y0 + a * ay + b * ax


@numba.njit(nogil=True, error_model="numpy", inline="always")
def _within(value, most):  # type: ignore[no-untyped-def]
    """Return `value`, compressed below `most`; small ones pass."""
    share = abs(value) / most
    return value / (np.float32(1.0) + share * share * share) ** np.float32(1 / 3)


@numba.njit(nogil=True, error_model="numpy", inline="always")
def _lids(table, at):  # type: ignore[no-untyped-def]
    at = min(max(at, np.float32(0.0)), np.float32(STEPS - 1.001))
    k = int(at)
    share = at - np.float32(k)
    return (
        table[0, k] + share * (table[0, k + 1] - table[0, k]),
        table[1, k] + share * (table[1, k + 1] - table[1, k]),
    )
