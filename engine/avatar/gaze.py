"""The driver's eyes: where they look against where they usually look, steady while they fixate, and how open they are.

An eye is a ball behind the middle of its corners. The iris's place on it, from the iris network, gives a direction in
the viewer's axes, so that somebody who turns the head and goes on looking at the camera is seen to do so. Each frame
measures one eye, by turns, because eyes move together. A One-Euro filter and a dead zone keep a fixation still.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lcvd.tracking.iris import EyePoints
from lcvd.tracking.smooth import OneEuro, OneEuroSettings
from lcvd.types import Face, FloatArray

BALL_CM = 1.1  # from the eyeball's centre to the plane of the iris
BALL_DEPTH_CM = 0.6  # of the centre, behind the middle of the eye's corners
IRIS_CM = 0.585  # radius
IRIS_LIMITS = (0.6, 1.6)  # seen radius over the expected one; beyond it is no iris
LEAST_WIDTH_PX = 14.0  # of an eye; smaller ones tell too little
AWAY_DEG = 35.0  # a head that turns further from the camera hides an eye
FRONT_DEG = 12.0  # up to here both eyes are seen equally well
WINK, WINK_S = 0.3, (0.10, 0.25)  # gaps that differ by more, and for how long, are a wink; before, both lids move alike
UPWARD = 3.0  # the usual gap grows so much faster than it shrinks, since eyes are open more often than not
SHUT = 0.6  # lid gap over the usual one: below, the eye blinks
LEAST_OPEN = 0.12  # lid gap over the eye's width: below, there is nothing to see
FIRST_S, CALM_S = 0.3, 0.6  # the first sample of the usual gaze counts for so long; it is a plain mean up to the second
USUAL_S, PULL_RAD = 8.0, math.radians(3.0)  # then its memory; a glance pulls it no more than this would
PAIR_S = 0.1  # the other eye's sample counts for so long
APART_RAD = math.radians(14.0)  # eyes that differ by more are not both seen right; a saccade passes in a frame
LOST_S, FADE_S = 0.4, 0.25  # without a sample for the first time the gaze returns to usual with the second
FILTER = OneEuroSettings(min_cutoff_hz=1.0, beta=6.0)  # of angles in radians
STILL_RAD = math.radians(1.0)  # dead zone


class FindEye(Protocol):
    """Finds eye 0 or 1 of a face with points [468,≥2] px in a picture [H,W,3] (lcvd.tracking.iris.IrisNetwork)."""

    def __call__(self, rgb: NDArray[np.uint8], points: FloatArray, eye: int) -> EyePoints: ...


class Gaze(NamedTuple):
    """The change of gaze against the usual one, and the lids."""

    angles: FloatArray  # [2] radians in the viewer's axes: to the picture's right, up
    amount: float  # [0,1] how much of it to show
    gaps: FloatArray  # [2] of the picture-left and the picture-right eye: lid gap over the usual one
    gaps_sure: float  # [0,1] how far the gaps are to be believed


RESTING = Gaze(np.zeros(2, np.float32), 0.0, np.ones(2, np.float32), 0.0)


class DriverGaze:
    """Follows one driver's gaze through time. One thread at a time may use it."""

    def __init__(self, find_eye: FindEye) -> None:
        self._find_eye = find_eye
        self.reset()

    def reset(self) -> None:
        """Forget the driver."""
        self._usual = np.zeros((2, 2), np.float32)  # by eye
        self._usual_gap = np.zeros(2, np.float32)  # cm
        self._known_s = np.zeros(2, np.float32)
        self._last: list[tuple[float, FloatArray] | None] = [None, None]  # change from usual, by eye
        self._turn = 0
        self._filter = OneEuro(FILTER)
        self._shown = np.zeros(2, np.float32)
        self._gaps = np.ones(2, np.float32)
        self._wink_s = 0.0
        self._amount = self._gaps_sure = 0.0
        self._t_s = self._seen_s = self._gaps_s = -math.inf

    def update(self, rgb: NDArray[np.uint8], face: Face) -> Gaze:
        """Take in the frame `rgb` [H,W,3] with the driver's `face` and return the gaze."""
        dt = min(max(face.t_s - self._t_s, 0.0), 1.0)
        self._t_s = face.t_s
        sample = None if face.held else self._measure(rgb, face, dt)
        if sample is not None:
            self._seen_s = face.t_s
            self._follow(self._filter(sample[None], face.t_s, 1.0)[0])
        fade = 1 - math.exp(-dt / FADE_S)
        self._amount += (float(face.t_s - self._seen_s <= LOST_S) - self._amount) * fade
        self._gaps_sure += (float(face.t_s - self._gaps_s <= PAIR_S) - self._gaps_sure) * fade
        return Gaze(self._shown.copy(), self._amount, self._lids(dt), self._gaps_sure)

    def _lids(self, dt: float) -> FloatArray:
        """Return the gaps [2]: both eyes' mean, since each is seen in every other frame, or each its own in a wink."""
        winks = abs(float(self._gaps[0] - self._gaps[1])) > WINK
        self._wink_s = min(self._wink_s + dt, WINK_S[1]) if winks else max(self._wink_s - dt, 0.0)
        own = np.float32(max(self._wink_s - WINK_S[0], 0.0) / (WINK_S[1] - WINK_S[0]))
        mean = self._gaps.mean()
        return np.asarray(mean + own * (self._gaps - mean), np.float32)

    def _measure(self, rgb: NDArray[np.uint8], face: Face, dt: float) -> FloatArray | None:
        """Return the change of gaze [2] of the eye whose turn it is, averaged with the other's; None if unsure."""
        yaw = math.degrees(math.atan2(float(face.rotation[0, 2]), float(face.rotation[2, 2])))
        if float(face.rotation[2, 2]) < math.cos(math.radians(AWAY_DEG)):
            return None
        self._turn = 1 - self._turn
        eye = self._turn if abs(yaw) < FRONT_DEG else int(yaw < 0)  # a head turned right shows its picture-left eye
        seen = self._find_eye(rgb, face.vertices_px, eye)
        if not plausible(seen, face):
            return None
        gap, usual = seen.gap / face.scale_px_per_cm, float(self._usual_gap[eye])
        if usual > 0:
            self._gaps[eye], self._gaps_s = gap / usual, face.t_s
        if seen.gap < LEAST_OPEN * seen.width or gap < SHUT * usual:
            return None
        found = angles_of(viewing_direction(seen, face))
        self._learn(eye, found, gap, 2 * dt)  # an eye is seen every other frame
        change = found - self._usual[eye]
        self._last[eye] = face.t_s, change
        other = self._last[1 - eye]
        if other is not None and face.t_s - other[0] < PAIR_S:
            if float(np.linalg.norm(change - other[1])) > APART_RAD:
                return None
            change = (change + other[1]) / 2
        return np.asarray(change, np.float32)

    def _learn(self, eye: int, found: FloatArray, gap: float, dt: float) -> None:
        """Take a sample into the usual gaze and lid gap of `eye`, `dt` seconds after its last one."""
        known = float(self._known_s[eye])
        pull = found - self._usual[eye]
        if known == 0:
            share = 1.0
        elif known < CALM_S:
            share = min(dt / (known + FIRST_S), 1.0)
        else:
            share = dt / USUAL_S
            pull *= np.float32(min(PULL_RAD / max(float(np.linalg.norm(pull)), 1e-6), 1.0))
        self._usual[eye] += np.float32(share) * pull
        wider = gap - float(self._usual_gap[eye])
        self._usual_gap[eye] += np.float32(min(share * UPWARD, 1.0) if wider > 0 else share) * np.float32(wider)
        self._known_s[eye] = known + dt + 1e-6

    def _follow(self, wanted: FloatArray) -> None:
        """Draw the shown gaze after `wanted` so far that it stays within the dead zone."""
        step = wanted - self._shown
        length = float(np.linalg.norm(step))
        if length > STILL_RAD:
            self._shown = self._shown + step * np.float32(1 - STILL_RAD / length)


def plausible(seen: EyePoints, face: Face) -> bool:
    """Return False where the eye is too small, or its iris is none by size or place."""
    ratio = seen.radius / max(IRIS_CM * face.scale_px_per_cm, 1e-3)
    if seen.width < LEAST_WIDTH_PX or not IRIS_LIMITS[0] < ratio < IRIS_LIMITS[1]:
        return False
    return float(np.linalg.norm(seen.iris - seen.corners.mean(0))) < 0.5 * seen.width


def viewing_direction(seen: EyePoints, face: Face) -> FloatArray:
    """Return the unit direction [3] in which an eye looks, in the viewer's axes, y up."""
    behind = face.rotation @ np.array([0, 0, -BALL_DEPTH_CM], np.float32)
    away = (seen.iris - seen.corners.mean(0)) * np.array([1, -1], np.float32) / np.float32(face.scale_px_per_cm)
    x, y = (float(v) for v in (away - behind[:2]) / BALL_CM)
    length = math.hypot(x, y)
    if length > 0.9:
        x, y = 0.9 * x / length, 0.9 * y / length
    return np.array([x, y, math.sqrt(1 - x * x - y * y)], np.float32)


def angles_of(direction: FloatArray) -> FloatArray:
    """Return the angles [2] in radians, to the picture's right and up, of a unit direction [3]."""
    x, y, z = (float(v) for v in direction)
    return np.array([math.atan2(x, z), math.asin(min(max(y, -1.0), 1.0))], np.float32)


def direction_of(angles: FloatArray) -> FloatArray:
    """Return the unit direction [3] of `angles` [2]; the inverse of `angles_of`."""
    right, up = (float(v) for v in angles)
    flat = math.cos(up)
    return np.array([flat * math.sin(right), math.sin(up), flat * math.cos(right)], np.float32)
