"""The mesh is followed by the pixels alone, on the sample portrait moved by known motions."""

import cv2
import numpy as np
import pytest

from lcvd.face.geometry import face_mesh
from lcvd.tracking.mesh import FOR_EXPRESSION, FOR_LIGHT, MeshTracker
from lcvd.tracking.registration import MeshRegistration

SIZE = (640, 480)
START = np.array([[1.9, 0, -107.5], [0, 1.9, 2.5]])  # of the portrait in the frame


@pytest.fixture(scope="module")
def network():
    return MeshTracker(smoothing=None)


def drawn(portrait, move=None, gain=1.0, noise=0.0):
    """The portrait in a frame, moved by the affine [2,3] `move` of the frame's pixels."""
    whole = START if move is None else move @ np.vstack([START, [0, 0, 1]])
    picture = gain * cv2.warpAffine(portrait, whole, SIZE, borderValue=(120, 120, 120)).astype(np.float32)
    picture += np.random.default_rng(1).normal(0, noise, picture.shape) if noise else 0
    return np.clip(picture, 0, 255).astype(np.uint8)


def moved(points, move):
    return points[:, :2] @ move[:, :2].T + move[:, 2]


@pytest.mark.parametrize(
    ("shift", "turn", "zoom"),
    [((0, 0), 0, 1), ((2.4, -1.3), 0, 1), ((9, 5), 0, 1), ((4, 2), 2.5, 1.0), ((3, 3), -1, 1.03)],
)
@pytest.mark.parametrize("gain", [1.0, 0.85])
def test_a_known_motion_is_found(network, portrait, shift, turn, zoom, gain):
    """Shift, roll and zoom between two frames are found to a tenth of a pixel, also when the light changes."""
    network.reset()
    first = drawn(portrait, noise=2)
    points = network.track(first, 0.0).vertices_px
    move = cv2.getRotationMatrix2D(tuple(float(v) for v in points[:, :2].mean(0)), turn, zoom)
    move[:, 2] += shift
    registration = MeshRegistration(face_mesh())
    registration.keep(first, points)
    found = registration.follow(drawn(portrait, move, gain, noise=2))
    assert found is not None
    assert found.error < 0.08
    assert np.linalg.norm(found.points[:, :2] - moved(points, move), axis=1).mean() < 0.1


def test_a_guess_helps_over_a_long_way(network, portrait):
    """A quarter of a face in one frame is too far to be seen, and is found with a guess of where it went."""
    network.reset()
    first = drawn(portrait)
    points = network.track(first, 0.0).vertices_px
    move = np.array([[1.0, 0, 46], [0, 1, -20]])
    registration = MeshRegistration(face_mesh())
    registration.keep(first, points)
    second = drawn(portrait, move)
    blind = registration.follow(second)
    assert blind is None or blind.error > 0.2
    found = registration.follow(second, np.array([41, -17], np.float32))
    assert found.error < 0.05
    assert np.linalg.norm(found.points[:, :2] - moved(points, move), axis=1).mean() < 0.1


def test_what_cannot_be_followed_is_told(network, portrait):
    """Another face, a covered one and an empty frame have a large error, or no answer."""
    network.reset()
    first = drawn(portrait)
    points = network.track(first, 0.0).vertices_px
    registration = MeshRegistration(face_mesh())
    assert registration.follow(first) is None  # before there is anything to follow
    registration.keep(first, points)
    covered = first.copy()
    low, high = points[:, :2].min(0).astype(int), points[:, :2].max(0).astype(int)
    covered[(low[1] + high[1]) // 2 : high[1], low[0] : high[0]] = 90
    for other in (first[:, ::-1], covered, np.full_like(first, 128)):
        found = registration.follow(np.ascontiguousarray(other))
        assert found is None or found.error > 0.13


def test_a_face_at_the_edge_or_very_small_is_left_to_the_network(network, portrait):
    """Where too little of the mesh lies in the picture there is no answer."""
    network.reset()
    first = drawn(portrait)
    points = network.track(first, 0.0).vertices_px
    registration = MeshRegistration(face_mesh())
    registration.keep(first, points - np.float32([2 * np.ptp(points[:, 0]), 0, 0]))
    assert registration.follow(first) is None
    registration.keep(first, points * np.float32(0.02))
    assert registration.follow(first) is None


def watched(portrait, **options):
    """Count the network's runs of a tracker while the portrait sways, and return its faces and the count."""

    def play(fps, frames=24, cut=None):
        tracker = MeshTracker(smoothing=None, **options)
        runs, landmarks = [], tracker._landmarks
        tracker._landmarks = lambda rgb, roi: (runs.append(len(faces)), landmarks(rgb, roi))[1]
        faces = []
        for k in range(frames):
            t_s = k / fps
            move = np.array([[1.0, 0, 25 * np.sin(4 * t_s)], [0, 1, 8 * np.sin(6 * t_s)]])
            if cut is not None and k >= cut:
                move[:, 2] += (-70, 30)
            faces.append(tracker.track(drawn(portrait, move), t_s))
        return faces, [runs.count(k) for k in range(frames)]

    return play


def test_the_network_rests_and_nobody_sees_it(portrait):
    """At 30 fps it runs in fewer than six frames of ten; the mesh stays within 1 % of a face width of the network's."""
    resting, runs = watched(portrait, rests=FOR_LIGHT)(30)
    always, all_runs = watched(portrait)(30)
    assert sum(runs[4:]) < 0.6 * len(runs[4:])
    assert min(all_runs) >= 1
    for a, b in zip(resting, always, strict=True):
        apart = np.linalg.norm((a.vertices_px - b.vertices_px)[:, :2], axis=1).mean()
        assert apart < 0.01 * b.width_px


def test_slow_cameras_and_cuts_wake_the_network(portrait):
    """At 10 fps it runs in every frame; in the frame after a cut it runs at once."""
    assert min(watched(portrait, rests=FOR_LIGHT)(10, 10)[1]) >= 1
    faces, runs = watched(portrait, rests=FOR_LIGHT)(30, 16, cut=9)
    always, _ = watched(portrait)(30, 16, cut=9)
    assert runs[9] >= 1
    apart = np.linalg.norm((faces[9].vertices_px - always[9].vertices_px)[:, :2], axis=1).mean()
    assert apart < 0.03 * always[9].width_px


def test_a_changed_mouth_is_told(network, portrait):
    """Lips that part a little change the expression's error much and the whole one's little; a gaze's rest ends."""
    network.reset()
    first = drawn(portrait)
    points = network.track(first, 0.0).vertices_px
    lips = points[face_mesh().regions["inner_lips"], :2]
    second = first.copy()
    (x, y), width = lips.mean(0), np.ptp(lips[:, 0])
    cv2.ellipse(second, (int(x), int(y + 4)), (int(0.3 * width), 4), 0, 0, 360, (40, 12, 14), -1)
    registration = MeshRegistration(face_mesh())
    registration.keep(first, points)
    found = registration.follow(second)
    assert found.changed > 2 * found.error
    assert found.changed > FOR_EXPRESSION[0][2]
    assert found.error < FOR_LIGHT[0][1]
