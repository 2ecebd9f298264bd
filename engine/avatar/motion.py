"""The driver's Face moves the portrait's Face by LCVD's relative motion, softly limited to what one picture can show.

Relative displacement (arXiv 2502.19894 §8; lcvd.motion): R = R_i R₁ᵀ R_ref, s = s_ref s_i / s₁, t = t_ref + Δt, where 1
is the driver's rest pose, shape included, learned over time (lcvd.rest_pose), so nothing of its face reaches the
portrait. Here zoom and step are compressed as limit · tanh(x / limit), and angles as x / (1 + (x / limit)⁴)^¼, which
follows a turn until the portrait has no more to show. Lids follow the driver's lid opening and lips never cross,
because a difference of two faces in cm closes neither exactly.
"""

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.avatar.gaze import RESTING
from lcvd.motion import relative_face
from lcvd.rest_pose import RestPose
from lcvd.types import Face, FloatArray, MeshTopology

PITCH_DEG, YAW_DEG, ROLL_DEG = 18.0, 24.0, 28.0
STEP_FW = 0.40  # largest sideways shift of the head in face widths; half of it in depth and height
ZOOM = 0.22  # largest zoom, natural logarithm
SURE_DEG, LOST_DEG = 24.0, 45.0  # the driver's mesh is trusted fully below the first, not at all above the second
OUTLINE, STIFF = 0.35, 0.5  # shares of the expression that outline and bone take, where motion is mostly noise
# Upper and lower lid, outer corner to inner, and the fold above the upper one (MediaPipe numbering).
EYES = (
    ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155), (247, 30, 29, 27, 28, 56, 190)),
    ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382), (467, 260, 259, 257, 258, 286, 414)),
)
UPPER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415)
LOWER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)
# Lid gap over the driver's usual one. Shut eyes measure 0.55…0.85 of it (11 clips), because the landmark network hardly
# closes them and the filter removes part of a quick blink.
SHUT, OPEN = 0.70, 0.90
SEEN_SHUT, SEEN_OPEN = 0.28, 0.92  # the same of the gap that the iris network sees (engine.avatar.gaze)
SURE = 0.99  # from here on the mesh's gap is not asked
WIDEST = 1.12
LEAST_LID_CM = 0.3  # of the usual gap: the network draws no eye narrower
FOLD = 0.45  # share of the lid's movement that the fold above follows
MEETING = 0.2  # height above the lower lid at which the lids meet, as a share of the open gap


class AvatarMotion:
    """Moves one portrait by one driver over time, measured against the driver's learned rest pose (lcvd.rest_pose)."""

    def __init__(self, reference: Face) -> None:
        self._reference = reference
        self._own = reference.identity + reference.expression
        self._rest = RestPose()
        self._share = expression_share(reference.mesh)
        self._expression: FloatArray | None = None  # [V,3] the last one that was trusted, over the rest's
        self.gaze = RESTING  # the driver's, whose lids count for more than the mesh's

    def __call__(self, driver: Face) -> Face:
        """Return the portrait's face, moved as `driver` moves; time, score and held are the driver's."""
        driven = self._rest.update(driver)
        seen, rest = driven.face, driven.rest
        expression = self._trusted(seen.expression - rest.expression, seen.rotation)
        seen = replace(seen, expression=rest.expression + self._share[:, None] * expression)
        moved = relative_face(self._limited(seen, rest), rest, self._reference, camera="follow")
        shape = moved.identity + moved.expression
        openings = openings_of(self.gaze.gaps, SEEN_SHUT, SEEN_OPEN)
        if self.gaze.gaps_sure < SURE:
            rest_shape = rest.identity + rest.expression
            ratios = _gaps(rest_shape + expression) / np.maximum(_gaps(rest_shape), LEAST_LID_CM)
            by_mesh = openings_of(ratios, SHUT, OPEN)
            openings = by_mesh + np.float32(self.gaze.gaps_sure) * (openings - by_mesh)
        set_lids(shape, self._own, openings)
        part_lips(shape)
        return _placed(moved, shape)

    def _limited(self, seen: Face, rest: Face) -> Face:
        """Return the driver with its motion since its rest pose compressed below the limits."""
        turn = limited_rotation(seen.rotation @ rest.rotation.T)
        zoom = ZOOM * math.tanh(math.log(max(seen.scale_px_per_cm / rest.scale_px_per_cm, 1e-3)) / ZOOM)
        step = (seen.translation_px - rest.translation_px) / rest.scale_px_per_cm
        reach = STEP_FW * float(np.ptp(self._reference.identity[self._reference.mesh.regions["face_oval"], 0]))
        limit = np.array([reach, 0.5 * reach, 0.5 * reach], np.float32)
        return replace(
            seen,
            rotation=turn @ rest.rotation,
            scale_px_per_cm=rest.scale_px_per_cm * math.exp(zoom),
            translation_px=rest.translation_px + limit * np.tanh(step / limit) * rest.scale_px_per_cm,
        )

    def _trusted(self, expression: FloatArray, rotation: FloatArray) -> FloatArray:
        """Return `expression`, held where the head turns away from the camera, because the mesh is a guess there."""
        away = math.degrees(math.acos(min(max(float(rotation[2, 2]), -1.0), 1.0)))
        trust = min(max((LOST_DEG - away) / (LOST_DEG - SURE_DEG), 0.0), 1.0)
        if self._expression is None:
            self._expression = np.zeros_like(expression)
        self._expression = self._expression + np.float32(trust) * (expression - self._expression)
        return self._expression


def limited_rotation(rotation: NDArray[np.floating]) -> FloatArray:
    """Return `rotation` [3,3] with pitch, yaw and roll compressed below their limits; small angles pass."""
    vector = cv2.Rodrigues(np.asarray(rotation, np.float64))[0][:, 0]
    limit = np.radians([PITCH_DEG, YAW_DEG, ROLL_DEG])
    return np.asarray(cv2.Rodrigues(vector / (1 + (vector / limit) ** 4) ** 0.25)[0], np.float32)


def expression_share(mesh: MeshTopology) -> FloatArray:
    """Return [V], each vertex's share of the driver's expression: 1 around mouth, eyes and brows, less elsewhere."""
    neutral = mesh.neutral
    lively = np.concatenate(
        [mesh.regions[name] for name in ("lips", "left_eye", "right_eye", "left_brow", "right_brow")]
    )
    near = np.sqrt(((neutral[:, None] - neutral[lively][None]) ** 2).sum(-1)).min(1)
    share = STIFF + (1 - STIFF) * np.clip(1.4 - near / 2.5, 0, 1)
    # The outline stays in place except at the jaw, which an opening mouth moves.
    oval = neutral[mesh.regions["face_oval"]]
    rim = np.sqrt(((neutral[:, None] - oval[None]) ** 2).sum(-1)).min(1)
    jaw = np.clip((-neutral[:, 1] - 3.0) / 3.0, 0, 1)
    inside = np.clip(rim / 2.5, 0, 1)
    share *= np.maximum(OUTLINE + (1 - OUTLINE) * inside, jaw)
    return np.maximum(share, 0.9 * jaw).astype(np.float32)


def openings_of(ratios: NDArray[np.floating], shut: float, open_: float) -> FloatArray:
    """Return how far eyes are open, from their lid gaps over the usual ones: 0 at `shut` and below, 1 from `open_`.

    Eyes wider than usual get up to WIDEST.
    """
    opening = np.clip((ratios - shut) / (open_ - shut), 0, 1)
    return np.asarray(opening * np.clip(0.5 + 0.5 * ratios, 1, WIDEST), np.float32)


def set_lids(shape: FloatArray, open_shape: FloatArray, openings: NDArray[np.floating]) -> None:
    """Move the lids of `shape` [V,3] in place: as in `open_shape` at opening 1, closed at 0."""
    for (upper, lower, fold), opening in zip(EYES, openings, strict=True):
        high, low = open_shape[list(upper)], open_shape[list(lower)]
        meeting = low + MEETING * (high - low)
        closing = np.float32(1 - opening)
        shape[list(upper)] = high + closing * (meeting - high)
        shape[list(lower)] = low + max(closing, np.float32(0)) * (meeting - low)
        shape[list(fold)] += FOLD * closing * (meeting - high)


def part_lips(shape: FloatArray) -> None:
    """Move both inner lips of `shape` [V,3] to their middle, in place, where the upper one is below the lower one."""
    upper, lower = list(UPPER_LIP), list(LOWER_LIP)
    crossed = np.maximum(shape[lower, 1] - shape[upper, 1], 0) / 2
    shape[upper, 1] += crossed
    shape[lower, 1] -= crossed


def posed(points_cm: FloatArray, face: Face) -> FloatArray:
    """Return canonical points [N,3] in cm, y up, as px of the picture, y down, in the pose of `face`: [N,3]."""
    turned = face.scale_px_per_cm * points_cm @ face.rotation.T
    return np.asarray(turned * np.array([1, -1, 1], np.float32) + face.translation_px, np.float32)


def _gaps(shape: FloatArray) -> FloatArray:
    """Return the mean lid gap of each eye [2] in cm."""
    return np.array(
        [np.linalg.norm(shape[list(u)][2:5] - shape[list(l)][2:5], axis=1).mean() for u, l, _ in EYES], np.float32
    )


def _placed(face: Face, shape: FloatArray) -> Face:
    """Return `face` with the canonical `shape` [V,3] in its pose."""
    return replace(face, vertices_px=posed(shape, face), expression=(shape - face.identity).astype(np.float32))
