"""The default tracker on real networks and the sample portrait, moved about by known motions."""

import gc
import weakref

import cv2
import numpy as np
import pytest

from lcvd.errors import ShapeError
from lcvd.tracking.detector import blend_overlapping, iou
from lcvd.tracking.mesh import MeshTracker
from lcvd.tracking.pose import Y_DOWN
from lcvd.tracking.solver import FORGET_S, HOLD_S

GREY = (120, 120, 120)
PORTRAIT_FACE_PX = 94.0  # width of the face in the portrait
PORTRAIT_FACE_AT = (225.0, 125.0)


@pytest.fixture(scope="module")
def shared():
    """One tracker for all tests of this file: the networks take a while to load."""
    return MeshTracker()


@pytest.fixture
def tracker(shared):
    shared.reset()
    return shared


def place(portrait, size, face_px, at, roll_deg=0.0, onto=None):
    """The portrait drawn into a frame of size (width, height) so that its face is `face_px` wide, centred `at`."""
    zoom = face_px / PORTRAIT_FACE_PX
    move = cv2.getRotationMatrix2D(PORTRAIT_FACE_AT, roll_deg, zoom)
    move[:, 2] += np.subtract(at, PORTRAIT_FACE_AT)
    if onto is None:
        interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        return cv2.warpAffine(portrait, move, size, flags=interpolation, borderValue=GREY)
    # Only head and hair, so that several people fit into a frame.
    inset = cv2.warpAffine(
        portrait[:230, 130:320], move @ [[1, 0, 130], [0, 1, 0], [0, 0, 1]], size, flags=cv2.INTER_AREA
    )
    mask = cv2.warpAffine(np.ones((230, 190), np.uint8), move @ [[1, 0, 130], [0, 1, 0], [0, 0, 1]], size)
    return np.where(mask[..., None] > 0, inset, onto)


def blank(width=640, height=480):
    return np.full((height, width, 3), 120, np.uint8)


def centre(face):
    return face.vertices_px[:, :2].mean(0)


def reconstruct(face):
    """vertices from pose, identity and expression, by the formula in the docstring of Face."""
    up = face.scale_px_per_cm * (face.identity + face.expression) @ face.rotation.T + face.translation_px * Y_DOWN
    return up * Y_DOWN


def yaw_pitch_roll(face):
    r = face.rotation
    return np.degrees([np.arctan2(r[0, 2], r[2, 2]), -np.arcsin(r[1, 2]), np.arctan2(r[1, 0], r[1, 1])])


@pytest.mark.parametrize(
    ("size", "share"),
    [
        *[((160, 120), 0.35), ((120, 160), 0.35), ((640, 480), 0.07), ((640, 480), 0.4), ((480, 640), 0.2)],
        *[((1280, 720), 0.12), ((1920, 1080), 0.35), ((1080, 1920), 0.08)],
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_face_is_found_at_any_size(tracker, portrait, size, share, mirrored):
    """From 160 px to 1080p, upright or wide, near or far, mirrored or not: the mesh lies on the face."""
    face_px = share * max(size) if share < 0.3 else share * min(size)
    at = (0.5 * size[0], 0.45 * size[1])
    frame = place(portrait, size, face_px, at)
    if mirrored:
        frame = np.ascontiguousarray(frame[:, ::-1])
    face = tracker.track(frame, 0.0)
    assert face is not None
    assert face.score > 0.5
    assert not face.held
    assert face.width_px == pytest.approx(face_px, rel=0.08)
    np.testing.assert_allclose(centre(face), at, atol=0.08 * face_px)


def test_the_points_are_where_the_features_are(tracker, portrait):
    """Eyes and lips of the portrait are hit to within 4 px of 94; the person's left eye is at picture right."""
    face = tracker.track(portrait, 0.0)
    points, regions = face.vertices_px[:, :2], face.mesh.regions
    # Read off the picture by eye.
    np.testing.assert_allclose(points[regions["right_eye"]].mean(0), (204, 101), atol=4)
    np.testing.assert_allclose(points[regions["left_eye"]].mean(0), (247, 104), atol=4)
    np.testing.assert_allclose(points[regions["inner_lips"]].mean(0), (223, 147), atol=4)
    assert face.vertices_px[4, 2] - face.vertices_px[234, 2] > 0.3 * PORTRAIT_FACE_PX  # nose before the ear


def test_pose_identity_and_expression_rebuild_the_points(tracker, portrait):
    """s · R · (identity + expression) + t is the mesh in the picture, to rounding."""
    for k in range(3):
        face = tracker.track(place(portrait, (640, 480), 150, (300 + 8 * k, 220), roll_deg=5 * k), k / 30)
        np.testing.assert_allclose(reconstruct(face), face.vertices_px, atol=0.02)
        np.testing.assert_allclose(face.rotation @ face.rotation.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(face.rotation) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("roll", [-40, -15, 0, 20, 45])
def test_the_pose_follows_the_head(shared, portrait, roll):
    """A picture turned by so many degrees (counter-clockwise) turns the pose by as many, and scales with the size."""
    shared.reset()
    straight = shared.track(place(portrait, (640, 480), 120, (320, 240)), 0.0)
    shared.reset()
    turned = shared.track(place(portrait, (640, 480), 180, (320, 240), roll_deg=roll), 0.0)
    assert yaw_pitch_roll(turned)[2] - yaw_pitch_roll(straight)[2] == pytest.approx(roll, abs=3)
    assert turned.scale_px_per_cm / straight.scale_px_per_cm == pytest.approx(1.5, rel=0.03)


def test_a_mirrored_head_turns_the_other_way(shared, portrait):
    """Mirroring the picture negates yaw and roll and keeps pitch."""
    frame = place(portrait, (640, 480), 150, (320, 240), roll_deg=12)
    shared.reset()
    one = yaw_pitch_roll(shared.track(frame, 0.0))
    shared.reset()
    two = yaw_pitch_roll(shared.track(np.ascontiguousarray(frame[:, ::-1]), 0.0))
    np.testing.assert_allclose(one * (-1, 1, -1), two, atol=2.5)


def test_a_short_loss_is_bridged_and_a_long_one_is_not(tracker, portrait):
    """The last face is held for 0.3 s, marked, then there is none; it comes back unmarked."""
    frame = place(portrait, (640, 480), 150, (320, 240))
    seen = tracker.track(frame, 0.0)
    held = tracker.track(blank(), 0.5 * HOLD_S)
    assert held.held
    assert held.t_s == 0.5 * HOLD_S
    np.testing.assert_array_equal(held.vertices_px, seen.vertices_px)
    assert tracker.track(blank(), 1.1 * HOLD_S) is None
    again = tracker.track(frame, 1.5 * HOLD_S)
    assert again is not None
    assert not again.held


def test_a_face_that_comes_back_within_the_hold_needs_no_blank_frame(tracker, portrait):
    """A face that jumps across the frame is found again in the same frame, and not dragged by the filter."""
    tracker.track(place(portrait, (640, 480), 120, (120, 200)), 0.0)
    face = tracker.track(place(portrait, (640, 480), 120, (520, 260)), 1 / 30)
    assert face is not None
    assert not face.held
    np.testing.assert_allclose(centre(face), (520, 260), atol=10)


def test_noise_on_a_still_face_is_calmed(shared, portrait):
    """With the filter, frame-to-frame motion of a still face under noise is less than half of that without."""
    rng = np.random.default_rng(6)
    still = place(portrait, (640, 480), 180, (320, 240)).astype(np.float32)
    frames = [np.clip(still + rng.normal(0, 6, still.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    raw = MeshTracker(smoothing=None)
    shared.reset()

    def unrest(tracker):
        points = np.array([tracker.track(frame, k / 30).vertices_px[:, :2] for k, frame in enumerate(frames)])
        return np.abs(np.diff(points, axis=0))[2:].mean()

    assert unrest(shared) < 0.5 * unrest(raw)


def test_a_moving_face_is_not_left_behind(tracker, portrait):
    """At 1.5 face widths a second the smoothed mesh trails the true motion by less than 2 % of a face width."""
    for k in range(12):
        x = 200 + 9.0 * k
        face = tracker.track(place(portrait, (640, 480), 180, (x, 240)), k / 30)
        if k == 0:
            offset = centre(face)[0] - x
    assert abs(centre(face)[0] - x - offset) < 0.02 * 180


def test_the_identity_settles_and_stays_while_the_mouth_and_head_move(tracker, portrait):
    """After two seconds the neutral shape moves by less than 0.2 mm in a second of nodding and rolling."""
    shapes = []
    for k in range(45):
        t = k / 15
        frame = place(portrait, (640, 480), 180, (320 + 20 * np.sin(3 * t), 240), roll_deg=10 * np.sin(2 * t))
        shapes.append(tracker.track(frame, t).identity)
    assert np.linalg.norm(shapes[-1] - shapes[0], axis=1).mean() > 0.02  # cm: it learnt this person
    assert np.linalg.norm(shapes[-1] - shapes[-15], axis=1).mean() < 0.02  # cm


def test_identity_returns_to_neutral_after_a_long_absence(tracker, portrait):
    """Two seconds without a face, and whoever comes next starts from the canonical shape."""
    frame = place(portrait, (640, 480), 150, (320, 240))
    for k in range(10):
        face = tracker.track(frame, k / 10)
    assert np.abs(face.identity - face.mesh.neutral).max() > 0.01
    tracker.track(blank(), 1.5)
    face = tracker.track(frame, 1.0 + FORGET_S + 0.5)
    np.testing.assert_array_equal(face.identity, face.mesh.neutral)


def test_the_largest_of_several_faces_is_followed(tracker, portrait):
    """The widest of three faces is taken."""
    frame = place(portrait, (960, 540), 70, (150, 200), onto=blank(960, 540))
    frame = place(portrait, (960, 540), 130, (480, 260), onto=frame)
    frame = place(portrait, (960, 540), 80, (800, 220), onto=frame)
    np.testing.assert_allclose(centre(tracker.track(frame, 0.0)), (480, 260), atol=12)


def test_ten_faces_are_a_picture_like_any_other(tracker, portrait):
    """With ten faces one is followed, and it is the same one in every frame."""
    frame = blank(1280, 720)
    for k in range(10):
        frame = place(portrait, (1280, 720), 95, (130 + 250 * (k % 5), 180 + 330 * (k // 5)), onto=frame)
    places = [centre(tracker.track(frame, k / 10)) for k in range(12)]
    assert np.ptp(np.array(places), axis=0).max() < 5


def two_people(portrait, ratio):
    """Two faces side by side, the right one `ratio` times as wide as the left."""
    frame = place(portrait, (960, 540), 120 / ratio**0.5, (250, 260), onto=blank(960, 540))
    return place(portrait, (960, 540), 120 * ratio**0.5, (700, 260), onto=frame)


def test_two_equal_faces_do_not_take_turns(tracker, portrait):
    """While two people sway slowly, now one a third nearer, now the other, the first one stays followed."""
    places = []
    for k in range(36):
        frame = two_people(portrait, 1.35 ** np.sin(2 * np.pi * k / 18))
        places.append(centre(tracker.track(frame, k / 5))[0])
    assert np.ptp(places) < 30


@pytest.mark.parametrize("first", [1.2, 1 / 1.2])
def test_after_a_short_loss_the_same_person_is_found_again(tracker, portrait, first):
    """The one of two people followed before the camera was covered is followed after, though now a little smaller."""
    before = centre(tracker.track(two_people(portrait, first), 0.0))[0]
    tracker.track(blank(960, 540), 0.1)
    after = centre(tracker.track(two_people(portrait, 1 / first), 0.2))[0]
    assert abs(after - before) < 30


def test_the_first_frame_is_as_good_as_the_next(portrait):
    """The detector's rough square is corrected at once: first and third answer differ by under 0.4 % of the width."""
    tracker = MeshTracker(smoothing=None)
    frame = place(portrait, (640, 480), 200, (320, 240), roll_deg=25)
    points = [tracker.track(frame, k / 30).vertices_px for k in range(3)]
    assert np.linalg.norm((points[2] - points[0])[:, :2], axis=1).mean() < 0.004 * 200


def test_a_much_larger_face_takes_over_after_a_while(tracker, portrait):
    """Someone who sits down much nearer is followed within three seconds, but not at once."""
    alone = place(portrait, (960, 540), 70, (200, 200), onto=blank(960, 540))
    both = place(portrait, (960, 540), 170, (650, 280), onto=alone)
    tracker.track(alone, 0.0)
    assert centre(tracker.track(both, 0.1))[0] < 300
    for k in range(1, 31):
        face = tracker.track(both, 0.1 + k / 10)
    np.testing.assert_allclose(centre(face), (650, 280), atol=15)


@pytest.mark.parametrize("kind", ["black", "white", "noise", "stripes", "one pixel", "one row", "4K"])
def test_without_a_face_there_is_none(tracker, kind):
    """Nothing, noise and odd sizes give None and no exception."""
    frames = {
        "black": np.zeros((480, 640, 3)),
        "white": np.full((480, 640, 3), 255),
        "noise": np.random.default_rng(0).integers(0, 256, (480, 640, 3)),
        "stripes": np.tile((np.arange(640) // 20 % 2 * 255)[None, :, None], (480, 1, 3)),
        "one pixel": np.zeros((1, 1, 3)),
        "one row": np.zeros((1, 2000, 3)),
        "4K": np.zeros((2160, 3840, 3)),
    }
    frame = frames[kind].astype(np.uint8)
    for k in range(3):
        assert tracker.track(frame, k / 3) is None


def test_a_grey_picture_still_has_a_face(tracker, portrait):
    """A black-and-white camera works."""
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, -1)
    assert tracker.track(grey, 0.0) is not None


def test_a_new_frame_size_starts_afresh(tracker, portrait):
    """A camera that changes its resolution or orientation is followed without smoothing across the change."""
    tracker.track(place(portrait, (640, 480), 150, (320, 240)), 0.0)
    face = tracker.track(place(portrait, (720, 1280), 200, (360, 500)), 1 / 30)
    np.testing.assert_allclose(centre(face), (360, 500), atol=16)


def test_a_clock_that_runs_back_starts_afresh(tracker, portrait):
    """A timestamp before the last one (a clip that loops) is answered like a first frame."""
    frame = place(portrait, (640, 480), 150, (320, 240))
    first = tracker.track(frame, 10.0)
    tracker.track(place(portrait, (640, 480), 150, (340, 240)), 10.1)
    again = tracker.track(frame, 0.0)
    np.testing.assert_allclose(again.vertices_px, first.vertices_px, atol=0.5)


def test_the_same_clip_gives_the_same_faces(shared, portrait):
    """After reset the tracker answers bit for bit as before."""
    frames = [place(portrait, (640, 480), 150, (320 + 5 * k, 240)) for k in range(5)]

    def run():
        shared.reset()
        return np.array([shared.track(frame, k / 30).vertices_px for k, frame in enumerate(frames)])

    np.testing.assert_array_equal(run(), run())


def test_a_face_is_not_changed_by_later_frames(tracker, portrait):
    """A returned Face stays as it was: no buffer is shared with the tracker's state."""
    face = tracker.track(place(portrait, (640, 480), 150, (320, 240)), 0.0)
    kept = [face.vertices_px.copy(), face.identity.copy(), face.expression.copy(), face.rotation.copy()]
    for k in range(1, 4):
        tracker.track(place(portrait, (640, 480), 170, (330 + 5 * k, 240)), k / 30)
    for before, now in zip(kept, [face.vertices_px, face.identity, face.expression, face.rotation], strict=True):
        np.testing.assert_array_equal(before, now)


@pytest.mark.parametrize("bad", [np.zeros((0, 0, 3), np.uint8), np.zeros((480, 640), np.uint8), np.zeros((9, 9, 3))])
def test_anything_but_a_picture_is_a_shape_error(tracker, bad):
    """Empty, grey-rank and float frames are refused by name."""
    with pytest.raises(ShapeError, match="rgb"):
        tracker.track(bad, 0.0)


def test_overlapping_answers_are_averaged_and_separate_ones_kept():
    """Two boxes on one face become their weighted mean; a third elsewhere stays itself."""
    rows = np.array([[10.0, 10, 8, 8], [11, 10, 8, 8], [40, 40, 6, 6]])
    merged = blend_overlapping(rows, np.array([0.9, 0.3, 0.6]))
    assert len(merged) == 2
    np.testing.assert_allclose(merged[0][0], [10.25, 10, 8, 8])
    assert merged[0][1] == 0.9
    np.testing.assert_allclose(merged[1][0], rows[2])


def test_overlap_is_intersection_over_union():
    """Half-covering squares overlap by a third, far ones and empty ones by nothing."""
    a = np.array([0.0, 0, 2, 2])
    assert iou(a, np.array([1.0, 0, 2, 2])) == pytest.approx(1 / 3)
    assert iou(a, np.array([9.0, 0, 2, 2])) == 0
    assert iou(np.zeros(4), np.zeros(4)) == 0


def test_further_faces_are_told_where_asked_for(portrait):
    """The smaller of two people is told beside the followed one, from the first frame on."""
    tracker = MeshTracker(others=True)
    rgb = two_people(portrait, 1.2)
    for i in range(3):
        face = tracker.track(rgb, i / 25)
        assert len(tracker.others) == 1
        (other,) = tracker.others.values()
        assert np.hypot(*(centre(face) - centre(other))) > face.width_px
        assert other.width_px < face.width_px
    tracker.track(blank(), 0.2)
    assert tracker.others == {}


def test_a_tracker_is_freed_with_its_last_reference(tracker):
    """Its networks take some 60 MB; in a circle they would stay until Python looks for circles."""
    other = MeshTracker(others=True)
    freed = weakref.ref(other)
    gc.disable()
    try:
        del other
        assert freed() is None
    finally:
        gc.enable()
