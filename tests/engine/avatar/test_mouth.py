"""The driver's mouth is drawn into the portrait's opening."""

from dataclasses import replace

import numpy as np

from engine.avatar.motion import LOWER_LIP, AvatarMotion
from engine.avatar.mouth import Mouth, gap_cm
from lcvd.face.neutral import centred_face
from tests.engine.avatar.synthetic_portrait import DRIVER, drawn_portrait, turned

REFERENCE = centred_face((512, 512))


def opened(face, cm: float):
    lips = np.zeros_like(face.identity)
    lips[list(LOWER_LIP), 1] = -cm
    return replace(turned(face, 0.0, lips), t_s=0.1)


def test_amount_follows_the_opening() -> None:
    """The opacity is 0 for closed lips and 1 for widely parted ones, and grows between."""
    mouth = Mouth(REFERENCE, drawn_portrait())
    amounts = [mouth.amount(opened(REFERENCE, cm)) for cm in (0.0, 0.15, 0.3, 0.45, 0.9)]
    own = gap_cm(REFERENCE.identity)
    assert amounts[0] == 0
    assert amounts == sorted(amounts)
    assert amounts[-1] == 1, own


def test_driver_shows_only_between_the_lips() -> None:
    """A green driver turns the opening green and leaves everything outside the lips' box as it was."""
    portrait = drawn_portrait()
    mouth = Mouth(REFERENCE, portrait)
    driver = opened(centred_face(DRIVER), 1.2)
    green = np.zeros((*DRIVER, 3), np.uint8)
    green[..., 1] = 200
    motion = AvatarMotion(REFERENCE)
    motion(centred_face(DRIVER))
    face = motion(driver)
    person = np.dstack([portrait, np.full(portrait.shape[:2], 255, np.uint8)])
    before = person.copy()
    mouth.paint(person, face, green, driver, np.ones(3, np.float32), 1.0)
    x, y = face.vertices_px[[13, 14], :2].mean(0).astype(int)
    assert person[y, x, 1] > person[y, x, 0] + 100
    changed = np.argwhere((person != before).any(-1))
    lips = face.vertices_px[face.mesh.regions["lips"], :2]
    assert (changed[:, ::-1].min(0) >= lips.min(0) - 1).all()
    assert (changed[:, ::-1].max(0) <= lips.max(0) + 1).all()


def test_brightness_is_matched_at_the_cheeks() -> None:
    """A driver with 0.8 of the portrait's code values gets about 1 / 0.8² on squares, the portrait itself gets 1."""
    portrait = drawn_portrait()
    same = Mouth(REFERENCE, portrait).match(portrait, REFERENCE)
    np.testing.assert_allclose(same, 1, atol=0.05)
    dim = Mouth(REFERENCE, portrait).match((portrait * 0.8).astype(np.uint8), REFERENCE)
    assert 1.4 < float(dim.mean()) < 1.8
