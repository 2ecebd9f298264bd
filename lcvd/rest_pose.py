"""The driver's rest pose, learned over time: what relative motion (lcvd.motion) measures the driver against.

The paper takes the first driving frame. A call that begins in a laugh would then close the portrait's mouth through
itself for good. Here the first face is rest as far as it is calm (lcvd.face.calm), the mean neutral mouth where it is
not, and every later face is evidence, weighted by its calmness and by how far it faces the camera: a calm face revises
the rest within a second or two, a minute of laughing or talking hardly does.

A person who takes another's seat gets a rest pose of their own. What bone holds still tells people apart: its mean over
a second differs by 0.13 to 0.52 cm (rms over the rigid vertices) between people of the test clips, by 0.09 at most
between one person's seconds.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lcvd.face.calm import LEAST, calmed, calmness
from lcvd.face.geometry import face_mesh, similarity
from lcvd.tracking.pose import RIGID, Y_DOWN, Pose, rigid_weights, solve_pose
from lcvd.types import Face, FloatArray

MEMORY_S = 20.0  # of calm, frontal evidence; later evidence changes the rest with this time constant
FIRST_S, CALM_FIRST_S = 0.2, 3.0  # evidence that any first face brings, and that a calm one adds
PLACE_S, PLACE_MEMORY_S = 5.0, 30.0  # the same for place and size, of which no one is more at rest than another
SEEN_DEG = 15.0  # a head turned so far shows its shape less well, and its mouth
REST_DEG, FRONTAL_FIRST_S = 10.0, 8.0  # spread of heads at rest around the camera; evidence of a first frontal one
LIDS_SHUT, LIDS_OPEN = 0.20, 0.28  # lid gap over the eye's width: a blink is no evidence of the lids at rest
LOWERED, LOWERED_TRUST = 0.85, 0.3  # lids lower than at rest: a blink, a look down, or a rest that was learned too wide
GAP_S = 1.0  # without a face
MOVE_FW, ZOOM_LOG, SHAPE_CM = 0.35, 0.25, 0.15  # changes from frame to frame that are hardly motion
SETTLE_S = 0.15  # after a break, until the tracker's square and filter have settled
RECENT_S, DECIDE_S = 1.0, 0.4  # memory of the bones seen last, and how much of them decides who it is
OTHER_CM, ALIKE_CM = 0.135, 0.08  # bones further apart are another person's, nearer ones the same
UNSURE_S = 0.5  # evidence left in between where somebody may have come, so that the rest is soon revised
JAW_SPREAD_RAD, EXPRESSION_SPREAD = 0.1, 2.0  # of FLAME's jaw and of its 50 expression coefficients at rest
BONES = np.array(RIGID)


class RunningMean:
    """A mean of arrays weighted by seconds of evidence, of which at most `memory_s` are remembered.

    `seconds` may be an array that broadcasts with the value: one count for each vertex.
    """

    def __init__(self, value: FloatArray, seconds: float | FloatArray, memory_s: float = MEMORY_S) -> None:
        self.value, self.seconds = value, seconds
        self._memory_s = memory_s

    def add(self, value: FloatArray, seconds: float | FloatArray) -> None:
        """Count `value` for `seconds`, 0 or more."""
        self.seconds = np.minimum(self.seconds + seconds, self._memory_s)
        self.value = self.value + (seconds / np.maximum(self.seconds, 1e-6)) * (value - self.value)

    def forget(self, seconds: float) -> None:
        """Leave no more than `seconds` of evidence."""
        self.seconds = np.minimum(self.seconds, seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Driven:
    """One frame of a driver. Both faces have the identity of the person's first frame, so expressions compare."""

    face: Face  # the driver now, its pose measured on the person's own bones
    rest: Face  # the same person at rest, as far as known


class RestPose:
    """Learns the rest pose of whoever sits before the camera. Faces must be of MediaPipe's mesh, in order of time."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the person: the next face is a first one."""
        self._person: _Person | None = None
        self._last: tuple[Face, FloatArray] | None = None  # the face before, and its bones
        self._recent: RunningMean | None = None  # bones since the last break, at most RECENT_S of them
        self._break_s = -math.inf
        self._came = False  # somebody may have come with the last break
        self._decided = True  # who it is since the last break

    def update(self, driver: Face) -> Driven:
        """Learn from `driver` and return it with its rest pose."""
        shape = driver.identity + driver.expression
        bones = _aligned(shape)
        person = self._person or _Person(driver, bones)
        self._note_break(driver, bones)
        evidence = _seconds(person.t_s, driver.t_s) * _frontal(driver) * math.sqrt(calmness(shape))
        if self._recent is None or driver.t_s - self._break_s < SETTLE_S:
            self._recent = RunningMean(bones, evidence, RECENT_S)
        else:
            self._recent.add(bones, evidence)
        if self._recent.seconds >= DECIDE_S:
            apart = _apart(self._recent.value, person.bones.value)
            if apart > OTHER_CM:
                person = _Person(driver, self._recent.value)
            elif self._came and not self._decided:
                person.come_back(sure=apart < ALIKE_CM)
            self._decided = True
        person.learn(driver, bones, self._decided)
        self._person, self._last = person, (driver, bones)
        return person.driven(driver)

    def _note_break(self, driver: Face, bones: FloatArray) -> None:
        """Notice a gap, a jump or a cut since the face before. A shape that goes on changing is one break."""
        if self._last is None:
            return
        came = _has_jumped(self._last[0], driver)
        if came or (self._decided and _apart(bones, self._last[1]) > SHAPE_CM):
            self._break_s, self._came, self._decided = driver.t_s, came, False


class RestCode:
    """Learns the rest of DECA's pose and expression (lcvd.tracking.deca): FLAME's own zero is the neutral face.

    The spreads are round figures of FLAME's units and not measured: DECA's weights were at nobody's hand.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Take the next code as a first one."""
        self._turn: RunningMean | None = None
        self._expression: RunningMean | None = None  # jaw and expression, [3 + 50]
        self._t_s = 0.0

    def update(self, pose: FloatArray, expression: FloatArray, t_s: float) -> tuple[FloatArray, FloatArray]:
        """Learn from pose [6] (head, jaw) and expression [50] at `t_s`; returns both at rest."""
        turn, now = pose[:3], np.concatenate([pose[3:], expression])
        size = (np.linalg.norm(pose[3:]) / JAW_SPREAD_RAD) ** 2 + (np.linalg.norm(expression) / EXPRESSION_SPREAD) ** 2
        calm = max(math.exp(-size / 2), LEAST)
        frontal = math.exp(-((np.linalg.norm(turn) / math.radians(REST_DEG)) ** 2) / 2)
        if self._turn is None or self._expression is None:
            keep = np.float32(_smooth((calm - 0.05) / 0.45))
            self._turn = RunningMean(turn, FIRST_S + FRONTAL_FIRST_S * frontal**2)
            self._expression = RunningMean(keep * now, FIRST_S + CALM_FIRST_S * (calm * frontal) ** 2)
        elif not 0 <= t_s - self._t_s <= GAP_S:
            self._turn.forget(UNSURE_S)
            self._expression.forget(UNSURE_S)
        else:
            seconds = _seconds(self._t_s, t_s)
            self._turn.add(turn, seconds * frontal)
            self._expression.add(now, seconds * frontal * calm)
        self._t_s = t_s
        rest = self._expression.value.astype(np.float32)
        return np.concatenate([self._turn.value.astype(np.float32), rest[:3]]), rest[3:]


class _Person:
    """What is known of one person."""

    def __init__(self, first: Face, bones: FloatArray) -> None:
        self._identity = first.identity
        # [V,3] cm, canonical: the bones that poses are measured on once the tracker has learned another identity
        self.basis: FloatArray = first.identity + first.expression
        self._weights = rigid_weights(len(self.basis))
        calm, frontal = calmness(self.basis), _frontal(first)
        keep = _smooth((calm - 0.05) / 0.45)
        guess = (self.basis + np.float32(1 - keep) * (calmed(self.basis) - self.basis)).astype(np.float32)
        evidence = FIRST_S + CALM_FIRST_S * (calm * frontal) ** 2
        self.shape = RunningMean(guess, np.maximum(evidence * self._trust(self.basis, guess), FIRST_S))
        self.bones = RunningMean(bones, FIRST_S)
        self.turn = RunningMean(first.rotation, FIRST_S + FRONTAL_FIRST_S * _frontal(first, REST_DEG) ** 2)
        place = _place(first.translation_px, first.scale_px_per_cm)
        self.place = RunningMean(place, PLACE_S, PLACE_MEMORY_S)
        self.t_s = first.t_s

    def learn(self, face: Face, bones: FloatArray, sure: bool) -> None:
        """Count one frame, unless it is not `sure` whose it is."""
        seconds = _seconds(self.t_s, face.t_s)
        self.t_s = face.t_s
        if seconds == 0 or not sure:
            return
        pose = self._pose(face)
        calm, frontal = calmness(pose.observed), _frontal(face)
        trust = self._trust(pose.observed, self.shape.value)
        self.shape.add(pose.observed, np.float32(seconds * calm * frontal) * trust)
        self.bones.add(bones, seconds * frontal * math.sqrt(calm))
        self.turn.add(pose.rotation, seconds * _frontal(face, REST_DEG))
        self.place.add(_place(pose.translation_px, pose.scale_px_per_cm), seconds)

    def come_back(self, sure: bool) -> None:
        """Let the next seconds decide the place, and, unless it is `sure` that it is the same person, all the rest."""
        for mean in (self.place,) if sure else (self.place, self.shape, self.bones, self.turn):
            mean.forget(UNSURE_S)

    def driven(self, face: Face) -> Driven:
        """Return `face` and the rest pose, both measured on this person's bones."""
        pose = self._pose(face)
        now = replace(
            face,
            rotation=pose.rotation,
            translation_px=pose.translation_px,
            scale_px_per_cm=pose.scale_px_per_cm,
            identity=self.basis,
            expression=pose.observed - self.basis,
        )
        scale, place = math.exp(self.place.value[3]), self.place.value[:3]
        rotation = nearest_rotation(self.turn.value).astype(np.float32)
        shape = self.shape.value.astype(np.float32)
        vertices = (scale * shape @ rotation.T * Y_DOWN + place).astype(np.float32)
        rest = replace(
            now,
            vertices_px=vertices,
            rotation=rotation,
            translation_px=place,
            scale_px_per_cm=scale,
            expression=shape - self.basis,
        )
        return Driven(now, rest)

    def _pose(self, face: Face) -> Pose:
        """Return the pose of `face` on bones that stay the same: a tracker that learns a shape turns the head by it."""
        shape = face.identity + face.expression
        if np.array_equal(face.identity, self._identity):
            return Pose(face.rotation, face.translation_px, face.scale_px_per_cm, shape)
        turned = face.scale_px_per_cm * shape @ face.rotation.T
        return solve_pose((turned * Y_DOWN + face.translation_px).astype(np.float32), self.basis, self._weights)

    def _trust(self, shape: FloatArray, rest: FloatArray) -> FloatArray:
        """Return [V,1]: 1, and less at the lids where they are shut or lower than at rest."""
        gap = _lid_gap(shape)
        awake = min(max((gap / _eye_width(shape) - LIDS_SHUT) / (LIDS_OPEN - LIDS_SHUT), 0.0), 1.0)
        if gap < LOWERED * _lid_gap(rest):
            awake *= LOWERED_TRUST
        return (1 - np.float32(1 - awake) * _around_lids())[:, None]


def nearest_rotation(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rotation [3,3] nearest to `matrix` in the least-squares sense."""
    u, _, vt = np.linalg.svd(np.asarray(matrix, np.float64))
    return (u * [1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt


def _has_jumped(before: Face, now: Face) -> bool:
    """Return True where `now` is too late, too far or too large to be the motion of `before`."""
    if not 0 <= now.t_s - before.t_s <= GAP_S:
        return True
    step = np.hypot(*(now.vertices_px.mean(0) - before.vertices_px.mean(0))[:2])
    zoom = abs(math.log(now.scale_px_per_cm / before.scale_px_per_cm))
    return bool(step > MOVE_FW * before.width_px or zoom > ZOOM_LOG)


def _seconds(before_s: float, now_s: float) -> float:
    """Return the evidence of one frame in seconds: the time since the one before, without gaps."""
    return min(max(now_s - before_s, 0.0), 0.2)


def _aligned(shape: FloatArray) -> FloatArray:
    """Return the rigid vertices [R,3] of a canonical shape [V,3] in the canonical mesh's place and size."""
    bones = shape[BONES]
    fit = similarity(bones, face_mesh().neutral[BONES])
    return (fit.scale * bones @ fit.rotation.T + fit.translation).astype(np.float32)


def _apart(a: FloatArray, b: FloatArray) -> float:
    """Return the rms distance in cm of aligned bones [R,3] after the best similarity."""
    fit = similarity(a, b)
    return float(np.sqrt((((fit.scale * a @ fit.rotation.T + fit.translation) - b) ** 2).sum(1).mean()))


def _frontal(face: Face, spread_deg: float = SEEN_DEG) -> float:
    away = math.degrees(math.acos(min(max(float(face.rotation[2, 2]), -1.0), 1.0)))
    return math.exp(-((away / spread_deg) ** 2) / 2)


def _place(translation_px: FloatArray, scale: float) -> FloatArray:
    return np.array([*translation_px, math.log(scale)], np.float32)


def _smooth(u: float) -> float:
    u = min(max(u, 0.0), 1.0)
    return u * u * (3 - 2 * u)


def _lid_gap(shape: FloatArray) -> float:
    return float(np.linalg.norm(shape[[159, 386]] - shape[[145, 374]], axis=1).mean())


def _eye_width(shape: FloatArray) -> float:
    return max(float(np.linalg.norm(shape[[33, 263]] - shape[[133, 362]], axis=1).mean()), 1e-3)


@cache
def _around_lids() -> FloatArray:
    """Return [V]: 1 at the lids, falling to 0 at 1.2 cm from them."""
    mesh = face_mesh()
    eyes = np.concatenate([mesh.regions["left_eye"], mesh.regions["right_eye"]])
    near = np.linalg.norm(mesh.neutral[:, None] - mesh.neutral[eyes][None], axis=2).min(1)
    return np.clip(1 - near / 1.2, 0, 1).astype(np.float32)
