"""The mask network is asked when it would be stale, and only then."""

import numpy as np

from engine.ratio.person_mask import PersonMask
from lcvd.face.neutral import centred_face
from tests.engine.made_up_person import SIZE, DrawnMatte, moved, portrait


class Noisy(DrawnMatte):
    """A matte whose answers breathe by a tenth."""

    def __call__(self, rgb):
        self.calls += 1
        return np.full((9, 16), 0.5 + (0.1 if self.calls % 2 else -0.1), np.float32)


def test_still_picture_asks_every_third_frame():
    """Seven still frames ask three times, camera noise or not."""
    matte = DrawnMatte()
    mask = PersonMask(matte)
    for i in range(7):
        mask.of(portrait(noise=4.0, seed=i), centred_face(SIZE, i / 30))
    assert matte.calls == 3


def test_moving_head_asks_every_frame():
    """A head that moves two hundredths of its width a frame asks each time."""
    matte = DrawnMatte()
    mask = PersonMask(matte)
    for i in range(5):
        face = centred_face(SIZE, i / 30)
        mask.of(portrait(), moved(face, i * 0.02 * face.width_px))
    assert matte.calls == 5


def test_waving_hand_asks_at_once():
    """A hand-sized change asks for a new mask although the head is still, and the new one counts in full."""
    matte = DrawnMatte()
    mask = PersonMask(matte)
    mask.of(portrait(), centred_face(SIZE, 0.0))
    waved = portrait()
    waved[100:160, 20:70] = (190, 60, 40)
    mask.of(waved, centred_face(SIZE, 1 / 30))
    assert matte.calls == 2


def test_still_masks_are_averaged():
    """While all is still the mask's breathing is halved at least."""
    mask = PersonMask(Noisy())
    seen = [float(mask.of(portrait(), centred_face(SIZE, i / 30))[0, 0]) for i in range(30)]
    assert np.ptp(seen[15:]) < 0.5 * 0.2 + 1e-3


def test_reset_asks_again():
    """After reset the next frame asks."""
    matte = DrawnMatte()
    mask = PersonMask(matte)
    mask.of(portrait(), centred_face(SIZE, 0.0))
    mask.reset()
    mask.of(portrait(), centred_face(SIZE, 1 / 30))
    assert matte.calls == 2
