"""The portrait's irises move inside their openings, and stay where moving them would look wrong."""

import cv2
import numpy as np
import pytest

from engine.avatar.engine import SIZE
from engine.avatar.eyes import PortraitEyes
from engine.avatar.gaze import RESTING, Gaze
from engine.avatar.motion import EYES
from engine.avatar.warp import remap
from lcvd.face.neutral import centred_face
from lcvd.tracking.iris import CORNERS, EyePoints
from tests.engine.avatar.synthetic_portrait import drawn_portrait, turned

FACE = centred_face((SIZE, SIZE))
RADIUS = 6.0  # of the drawn iris


def found(rgb: np.ndarray, points: np.ndarray, eye: int) -> EyePoints:
    """Return the drawn eye, as the iris network would."""
    upper, lower, _ = EYES[eye]
    region = FACE.mesh.regions["right_eye" if eye == 0 else "left_eye"]
    iris = points[region, :2].mean(0)
    corners, high, low = (points[list(rows), :2] for rows in (CORNERS[eye], upper, lower))
    return EyePoints(iris.astype(np.float32), RADIUS, corners, high, low)


def look(right_deg: float, up_deg: float = 0.0, amount: float = 1.0) -> Gaze:
    return RESTING._replace(angles=np.radians([right_deg, up_deg]).astype(np.float32), amount=amount)


def identity() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) + np.float32(0.5)
    return np.dstack([x, y])


def irises(rgb: np.ndarray) -> list[np.ndarray]:
    """Return the centres of the dark discs in both eyes, px."""
    centres = []
    for name in ("right_eye", "left_eye"):
        x, y = FACE.vertices_px[FACE.mesh.regions[name], :2].mean(0)
        dark = (rgb.sum(-1) < 300).astype(float)
        dark[: int(y) - 14] = dark[int(y) + 14 :] = 0
        dark[:, : int(x) - 26] = dark[:, int(x) + 26 :] = 0
        rows, cols = np.mgrid[:SIZE, :SIZE] + 0.5
        centres.append(np.array([(dark * cols).sum(), (dark * rows).sum()]) / dark.sum())
    return centres


@pytest.mark.parametrize("right_deg", [-20.0, 8.0, 20.0])
def test_irises_go_where_the_driver_looks(right_deg: float) -> None:
    """Both irises move to the side of the gaze, together, further for a wider glance, and keep their size."""
    portrait = drawn_portrait()
    eyes = PortraitEyes(portrait, FACE, found)
    assert eyes.reason == ""
    shift = eyes.shift(look(right_deg), FACE)
    uv_map = identity()
    eyes.warp(uv_map, FACE, shift)
    moved = remap(portrait, uv_map)
    before, after = irises(portrait), irises(moved)
    for a, b in zip(before, after, strict=True):
        assert 0.6 < (b - a)[0] / shift[0] < 1.05
        assert abs((b - a)[1]) < 0.5
    dark = [int((picture.sum(-1) < 300).sum()) for picture in (portrait, moved)]
    assert dark[1] == pytest.approx(dark[0], rel=0.12)


def test_only_the_openings_change() -> None:
    """Lids, lashes and all the rest of the picture stay exactly as they are."""
    eyes = PortraitEyes(drawn_portrait(), FACE, found)
    uv_map = identity()
    eyes.warp(uv_map, FACE, eyes.shift(look(20.0, -10.0), FACE))
    opening = np.zeros((SIZE, SIZE), np.uint8)
    for eye, (upper, lower, _) in enumerate(EYES):
        outline = FACE.vertices_px[[CORNERS[eye][0], *upper, CORNERS[eye][1], *lower[::-1]], :2]
        cv2.fillPoly(opening, [np.rint(outline).astype(np.int32)], 1)
    changed = np.abs(uv_map - identity()).max(-1) > 0
    assert changed[opening > 0].mean() > 0.5
    assert not changed[cv2.dilate(opening, np.ones((3, 3), np.uint8)) == 0].any()


def test_the_warp_does_not_fold() -> None:
    """Along the rows through the irises the source goes forward, whatever the shift asked for."""
    eyes = PortraitEyes(drawn_portrait(), FACE, found)
    rows = [int(FACE.vertices_px[FACE.mesh.regions[name], 1].mean()) for name in ("right_eye", "left_eye")]
    for shift in ([40.0, 0.0], [-40.0, 2.0], [9.0, -2.0]):
        uv_map = identity()
        eyes.warp(uv_map, FACE, np.array(shift, np.float32))
        assert np.diff(uv_map[rows, :, 0], axis=1).min() > 0


def test_usual_gaze_and_no_amount_leave_the_picture() -> None:
    """At the usual gaze on the resting head, and at amount 0, no iris moves."""
    eyes = PortraitEyes(drawn_portrait(), FACE, found)
    for gaze in (look(0.0), look(25.0, 10.0, amount=0.0)):
        np.testing.assert_allclose(eyes.shift(gaze, FACE), 0, atol=1e-3)


def test_eyes_stay_on_their_place_while_the_head_turns() -> None:
    """With the gaze unchanged in the viewer's axes, irises move against the head's turn, and by less than the limit."""
    eyes = PortraitEyes(drawn_portrait(), FACE, found)
    shift = eyes.shift(look(0.0), turned(FACE, 12.0))
    assert -8 < shift[0] < -1


def test_lids_follow_a_gaze_down() -> None:
    """Looking down lowers both lids by less than the iris; the corners and the brow stay."""
    eyes = PortraitEyes(drawn_portrait(), FACE, found)
    shift = eyes.shift(look(0.0, -15.0), FACE)
    assert shift[1] > 1
    step = eyes.follow(FACE, shift).vertices_px - FACE.vertices_px
    (upper, lower, _), brow = EYES[0], FACE.mesh.regions["right_brow"]
    assert 0 < step[lower[3], 1] < shift[1]
    assert 0 < step[upper[3], 1] < shift[1]
    assert np.abs(step[list(CORNERS[0])]).max() == 0
    assert np.abs(step[brow]).max() == 0


def altered(change):
    """Return a FindEye whose eyes are changed by `change`."""
    return lambda rgb, points, eye: change(found(rgb, points, eye), eye)


def test_eyes_that_would_look_wrong_are_left_alone() -> None:
    """Glare, closed, tiny, hidden and unlike eyes, and a head turned away, each give their reason."""
    portrait = drawn_portrait()
    glaring = portrait.copy()
    x, y = FACE.vertices_px[FACE.mesh.regions["left_eye"], :2].mean(0).astype(int)
    glaring[y - 4 : y + 5, x - 12 : x + 13] = 255
    plain = np.full_like(portrait, 120)
    closed = altered(lambda eye, _: eye._replace(upper=eye.lower + 0.2 * (eye.upper - eye.lower)))
    tiny = altered(lambda eye, _: eye._replace(radius=2.0))
    unlike = altered(lambda eye, k: eye._replace(radius=RADIUS * (1 + 0.4 * k)))
    for rgb, face, finder, reason in (
        (glaring, FACE, found, "glare"),
        (plain, FACE, found, "stand out"),
        (portrait, FACE, closed, "closed"),
        (portrait, FACE, tiny, "tiny"),
        (portrait, FACE, unlike, "differ"),
        (portrait, turned(FACE, 40.0), found, "away"),
    ):
        assert reason in PortraitEyes(rgb, face, finder).reason, reason
