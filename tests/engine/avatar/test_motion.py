"""The driver's motion moves the portrait within its limits."""

from dataclasses import replace

import numpy as np
import pytest

from engine.avatar.gaze import RESTING
from engine.avatar.motion import (
    EYES,
    LOWER_LIP,
    UPPER_LIP,
    YAW_DEG,
    AvatarMotion,
    limited_rotation,
    part_lips,
    set_lids,
)
from engine.avatar.puppet import Puppet
from lcvd.face.neutral import centred_face
from tests.engine.avatar.synthetic_portrait import flipped_share, turned

REFERENCE = centred_face((512, 512))


def yaw_deg(rotation: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2])))


def test_first_frame_rests() -> None:
    """The driver's first frame, whatever its pose, size and shape, leaves the portrait at rest."""
    wide = REFERENCE.identity * np.array([1.2, 0.9, 1.1], np.float32)
    driver = turned(replace(centred_face((240, 320)), identity=wide), 12.0)
    face = AvatarMotion(REFERENCE)(driver)
    np.testing.assert_allclose(face.vertices_px, REFERENCE.vertices_px, atol=0.05)


def test_portrait_keeps_its_shape_under_another_face() -> None:
    """A turning driver of another shape moves the portrait as one of the portrait's own shape does."""
    wide = REFERENCE.identity * np.array([1.2, 0.9, 1.1], np.float32)
    shown = []
    for identity in (REFERENCE.identity, wide):
        first = turned(replace(centred_face((240, 320)), identity=identity))
        motion = AvatarMotion(REFERENCE)
        motion(first)
        shown.append(motion(replace(turned(first, 8.0), t_s=0.1)).vertices_px)
    np.testing.assert_allclose(shown[0], shown[1], atol=0.5)


@pytest.mark.parametrize("side", [-1, 1])
def test_yaw_saturates_without_folding(side: int) -> None:
    """From 35° to 70° the nose hardly moves further, yaw stays below its limit and under 1 % of the mesh faces away."""
    puppet = Puppet(REFERENCE, 512)
    rest = puppet.vertices(REFERENCE)
    nose = []
    for yaw in (5.0, 35.0, 50.0, 70.0):
        motion = AvatarMotion(REFERENCE)
        motion(REFERENCE)
        face = motion(replace(turned(REFERENCE, side * yaw), t_s=0.1))
        assert abs(yaw_deg(face.rotation)) < min(yaw, YAW_DEG) + 0.1
        moved = puppet.vertices(face)
        nose.append(side * float(moved[1, 0] - rest[1, 0]))
        assert flipped_share(rest, moved, puppet.triangles) < 0.01
    assert nose[0] > 5
    assert nose[0] < nose[1] < nose[2] < nose[3]
    assert nose[3] - nose[1] < 0.15 * nose[1]


def test_small_turns_pass_the_limits() -> None:
    """A turn of 12° loses less than 3 % of its angle, one of 18° less than a tenth."""
    for yaw, least in ((12.0, 11.65), (18.0, 16.3)):
        face = turned(REFERENCE, yaw)
        assert least < yaw_deg(limited_rotation(face.rotation)) < yaw


def test_expression_of_a_face_turned_away_is_held() -> None:
    """Expressions at angles beyond LOST_DEG do not reach the portrait."""
    motion = AvatarMotion(REFERENCE)
    motion(REFERENCE)
    away = turned(REFERENCE, 60.0)
    still = motion(replace(away, t_s=0.1)).expression
    lips = np.zeros_like(REFERENCE.identity)
    lips[list(LOWER_LIP), 1] = -1.5
    grimace = motion(replace(turned(REFERENCE, 60.0, lips), t_s=0.2)).expression
    np.testing.assert_allclose(grimace, still, atol=0.05)
    front = motion(replace(turned(REFERENCE, 0.0, lips), t_s=0.3)).expression
    assert front[14, 1] < -0.8


def test_lids_meet_and_part() -> None:
    """At opening 0 upper and lower lid coincide; at 1 they are the portrait's own."""
    shape = REFERENCE.identity.copy()
    set_lids(shape, REFERENCE.identity, np.array([0.0, 1.0]))
    (upper, lower, _), (other_upper, _, _) = EYES
    np.testing.assert_allclose(shape[list(upper)], shape[list(lower)], atol=1e-4)
    np.testing.assert_allclose(shape[list(other_upper)], REFERENCE.identity[list(other_upper)], atol=1e-4)


def test_seen_lids_count_for_more_than_the_mesh() -> None:
    """Lids that the driver's gaze saw shut are shut, though the mesh's are open, as far as they are believed."""
    gaps = []
    for sure in (0.0, 1.0):
        motion = AvatarMotion(REFERENCE)
        motion(REFERENCE)
        motion.gaze = RESTING._replace(gaps=np.array([0.2, 1.0], np.float32), gaps_sure=sure)
        face = motion(replace(REFERENCE, t_s=0.1))
        gaps.append([float((face.vertices_px[u, 1] - face.vertices_px[l, 1]).mean()) for u, l, _ in map(list_, EYES)])
    np.testing.assert_allclose(gaps[0][0], gaps[0][1], rtol=0.05)
    assert abs(gaps[1][0]) < 0.2
    np.testing.assert_allclose(gaps[1][1], gaps[0][1], rtol=0.05)


def list_(eye):
    return [list(rows) for rows in eye]


def test_lips_do_not_cross() -> None:
    """A lower lip above the upper one meets it half-way; parted lips stay as they are."""
    shape = REFERENCE.identity.copy()
    shape[list(LOWER_LIP), 1] = shape[list(UPPER_LIP), 1] + 0.4
    part_lips(shape)
    assert (shape[list(UPPER_LIP), 1] >= shape[list(LOWER_LIP), 1] - 1e-4).all()
    parted = REFERENCE.identity.copy()
    parted[list(LOWER_LIP), 1] -= 1
    before = parted.copy()
    part_lips(parted)
    np.testing.assert_array_equal(parted, before)


def test_head_wanders_no_further_than_it_can_be_shown() -> None:
    """A driver that walks out of the picture takes the portrait's head less than half a face width along."""
    motion = AvatarMotion(REFERENCE)
    motion(REFERENCE)
    step = np.array([400, 0, 0], np.float32)
    gone = replace(REFERENCE, vertices_px=REFERENCE.vertices_px + step, translation_px=REFERENCE.translation_px + step)
    moved = motion(replace(gone, t_s=0.1)).translation_px - REFERENCE.translation_px
    assert 0.2 * REFERENCE.width_px < moved[0] < 0.5 * REFERENCE.width_px
