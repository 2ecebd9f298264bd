"""Pose, expression and identity on synthetic faces whose truth is known."""

import numpy as np
import pytest

from lcvd.face.geometry import face_mesh
from lcvd.tracking.pose import RIGID, Y_DOWN, IdentityAverage, Pose, rigid_weights, solve_pose

MESH = face_mesh()
LIPS = MESH.regions["lips"]


def turn(yaw_deg, pitch_deg=0.0):
    y, p = np.radians([yaw_deg, pitch_deg])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    return (about_x @ about_y).astype(np.float32)


def seen(shape, rotation=None, scale=12.0, at=(320.0, 240.0, 5.0)):
    """The points in the picture of a canonical shape."""
    rotation = np.eye(3, dtype=np.float32) if rotation is None else rotation
    return ((scale * shape @ rotation.T) * Y_DOWN + at).astype(np.float32)


def observe(shape):
    return Pose(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), 1.0, shape.astype(np.float32))


def open_mouth(shape, cm=2.0):
    """The shape with lower lip and chin `cm` lower."""
    out = shape.copy()
    out[shape[:, 1] < shape[14, 1] + 0.005, 1] -= cm
    return out


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (35, 0), (-50, 10), (0, -25)])
def test_a_known_pose_is_found_whatever_the_mouth_does(yaw, pitch):
    """Rotation, scale and place are exact even with an open mouth, because only bone votes."""
    shape, rotation = open_mouth(MESH.neutral), turn(yaw, pitch)
    pose = solve_pose(seen(shape, rotation), MESH.neutral, rigid_weights(468))
    np.testing.assert_allclose(pose.rotation, rotation, atol=1e-4)
    np.testing.assert_allclose(pose.translation_px, (320, 240, 5), atol=0.02)
    assert pose.scale_px_per_cm == pytest.approx(12, rel=1e-4)
    np.testing.assert_allclose(pose.observed, shape, atol=2e-3)


def test_bone_is_above_the_mouth():
    """No vertex of lips or lids decides the pose, and both sides of the face vote alike."""
    weights = rigid_weights(468)
    assert weights[LIPS].sum() == 0
    assert (MESH.neutral[list(RIGID), 0] > 0.1).sum() == (MESH.neutral[list(RIGID), 0] < -0.1).sum()


def test_the_identity_becomes_the_person():
    """A mouth wider by a fifth is learnt to four fifths in five seconds; the size of the head stays canonical."""
    person = MESH.neutral.copy()
    person[LIPS, 0] *= 1.2
    average = IdentityAverage(MESH)
    for k in range(150):
        pose = solve_pose(seen(person), average.shape, rigid_weights(468))
        average.update(pose, k / 30)
    widened = np.ptp(average.shape[LIPS, 0]) / np.ptp(MESH.neutral[LIPS, 0])
    assert 1.15 < widened < 1.21
    used = list(RIGID)
    assert np.ptp(average.shape[used, 0]) == pytest.approx(np.ptp(MESH.neutral[used, 0]), rel=0.02)


def test_an_open_mouth_teaches_nothing_about_the_neutral_mouth():
    """Ten seconds of shouting leave the lips of the identity closed."""
    average = IdentityAverage(MESH)
    for k in range(300):
        average.update(observe(open_mouth(MESH.neutral)), k / 30)
    assert np.linalg.norm(average.shape[13] - average.shape[14]) < 0.1


def test_a_turned_head_teaches_nothing():
    """Beyond 53° from the camera nothing is learnt."""
    average = IdentityAverage(MESH)
    strange = MESH.neutral * np.float32((1.1, 1, 0.8))
    for k in range(60):
        average.update(Pose(turn(60), np.zeros(3, np.float32), 1.0, strange), k / 30)
    np.testing.assert_allclose(average.shape, MESH.neutral, atol=1e-5)


@pytest.mark.parametrize("fps", [10, 60])
def test_learning_goes_by_seconds_not_frames(fps):
    """Two seconds at 10 or at 60 fps teach as much as at 30."""
    person = MESH.neutral.copy()
    person[LIPS, 0] *= 1.2

    def learnt(rate):
        average = IdentityAverage(MESH)
        for k in range(2 * rate + 1):
            average.update(observe(person), k / rate)
        return np.abs(average.shape - MESH.neutral)[LIPS].mean()

    assert learnt(fps) == pytest.approx(learnt(30), rel=0.1)


def test_the_frame_of_the_identity_does_not_creep():
    """Observations that are all five per cent too large and off-centre leave the rigid points where they belong."""
    average = IdentityAverage(MESH)
    for k in range(600):
        average.update(observe(MESH.neutral * 1.05 + (0.2, -0.1, 0.3)), k / 5)
    used = list(RIGID)
    np.testing.assert_allclose(average.shape[used].mean(0), MESH.neutral[used].mean(0), atol=0.005)
    assert average.shape[used].std() == pytest.approx(MESH.neutral[used].std(), rel=0.002)
