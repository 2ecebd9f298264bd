"""The mask network runs when its last mask would be stale, and only then."""

import numpy as np

from engine.ratio.person_mask import PersonMask
from lcvd.face.neutral import centred_face
from tests.engine.synthetic_person import SIZE, DrawnMatte, moved, portrait


class Noisy(DrawnMatte):
    """A matte whose masks alternate by ±0.1."""

    def __call__(self, rgb):
        self.calls += 1
        return np.full((9, 16), 0.5 + (0.1 if self.calls % 2 else -0.1), np.float32)


def test_still_picture_runs_the_network_every_third_frame():
    """Seven still frames run the network three times, in spite of camera noise."""
    matte = DrawnMatte()
    mask = PersonMask(matte)
    for i in range(7):
        mask.segment(portrait(noise=4.0, seed=i), centred_face(SIZE, i / 30))
    assert matte.calls == 3


def test_moving_head_runs_the_network_every_frame():
    """A head that moves by two hundredths of its width a frame runs the network each time."""
    matte = DrawnMatte()
    mask = PersonMask(matte)
    for i in range(5):
        face = centred_face(SIZE, i / 30)
        mask.segment(portrait(), moved(face, i * 0.02 * face.width_px))
    assert matte.calls == 5


def test_waving_hand_runs_the_network_at_once():
    """A hand-sized change runs the network although the head is still, and the new mask counts in full."""
    matte = DrawnMatte()
    mask = PersonMask(matte)
    mask.segment(portrait(), centred_face(SIZE, 0.0))
    waved = portrait()
    waved[100:160, 20:70] = (190, 60, 40)
    mask.segment(waved, centred_face(SIZE, 1 / 30))
    assert matte.calls == 2


def test_what_changes_far_from_the_person_does_not_run_the_network():
    """A wall that shows another film on every frame leaves the still head's mask to every third frame."""
    matte = DrawnMatte()
    mask = PersonMask(matte)
    for i in range(7):
        rgb = portrait()
        rgb[:60, 270:] = (250 * (i % 2),) * 3
        mask.segment(rgb, centred_face(SIZE, i / 30))
    assert matte.calls == 3


def test_still_masks_are_averaged():
    """While nothing moves the mask's variation is at least halved."""
    mask = PersonMask(Noisy())
    seen = [float(mask.segment(portrait(), centred_face(SIZE, i / 30))[0, 0]) for i in range(30)]
    assert np.ptp(seen[15:]) < 0.5 * 0.2 + 1e-3


def test_reset_runs_the_network_again():
    """After reset the network runs on the next frame."""
    matte = DrawnMatte()
    mask = PersonMask(matte)
    mask.segment(portrait(), centred_face(SIZE, 0.0))
    mask.reset()
    mask.segment(portrait(), centred_face(SIZE, 1 / 30))
    assert matte.calls == 2
