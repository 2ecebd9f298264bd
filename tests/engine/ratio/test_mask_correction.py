"""The person's mask is mended where the second network disagrees twice, softly, while the cell shows the same."""

import logging
import threading
from itertools import pairwise

import numpy as np
import pytest

from engine.ratio.mask_correction import AVERAGE_S, BURST, EASE_S, STILL_S, MaskCorrection
from engine.ratio.slow_matte import SlowMatte
from lcvd.errors import ModelUnavailable
from lcvd.face.neutral import centred_face
from tests.engine.synthetic_person import person_mask

SIZE = (120, 160)
FPS = 30
PERSON = person_mask(SIZE).astype(np.float32)
FLAG = np.zeros(SIZE, np.float32)
FLAG[20:70, 4:40] = 1
FLAG *= 1 - PERSON
HELMET = np.s_[14:30, 62:98]


class Second:
    """A second network that answers `mask`, and counts its looks."""

    def __init__(self, mask: np.ndarray = PERSON) -> None:
        self.mask, self.looks = mask, 0

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        self.looks += 1
        return self.mask


def picture() -> np.ndarray:
    rgb = np.full((*SIZE, 3), 150, np.uint8)
    rgb[PERSON > 0] = (190, 150, 130)
    rgb[FLAG > 0] = (160, 30, 40)
    return rgb


class Run:
    """A stream of masks through a correction, at FPS."""

    def __init__(self, second: Second, fast: np.ndarray) -> None:
        self.correction = MaskCorrection(SlowMatte(lambda: second), wait=True)
        self.second, self.fast, self.frames = second, fast, 0
        self.rgb = picture()

    def step(self) -> np.ndarray:
        t_s = self.frames / FPS
        self.frames += 1
        small = self.rgb.astype(np.float32) / 255
        return self.correction.apply(self.fast, small, self.rgb, [centred_face(SIZE, t_s)], t_s)

    def seconds(self, seconds: float) -> list[np.ndarray]:
        return [self.step() for _ in range(round(seconds * FPS))]


def test_what_the_fast_network_adds_is_taken_away_softly() -> None:
    """A flag beside the person is out of the mask within a second, and no frame changes more than the ease allows."""
    shown = [mask[FLAG > 0] for mask in Run(Second(), np.maximum(PERSON, FLAG)).seconds(1.2)]
    assert shown[0].min() == 1
    assert shown[-1].max() < 0.05
    assert max(np.abs(b - a).max() for a, b in pairwise(shown)) <= 1 / (FPS * EASE_S) + 1e-4


def test_what_the_fast_network_misses_is_added() -> None:
    """A helmet that only the second network sees becomes the person's; the rest of the mask stays."""
    fast = PERSON.copy()
    fast[HELMET] = 0
    truth = PERSON.copy()
    truth[HELMET] = 1
    run = Run(Second(truth), fast)
    run.rgb[HELMET] = (20, 60, 200)
    mask = run.seconds(1.2)[-1]
    assert mask[HELMET].mean() > 0.9
    np.testing.assert_array_equal(mask[60:], fast[60:])


def test_the_contour_is_the_fast_networks() -> None:
    """A second mask that is wider by a cell and blurred changes nothing."""
    import cv2

    wider = cv2.GaussianBlur(cv2.dilate(PERSON, np.ones((3, 3))), (0, 0), 1.5)
    run = Run(Second(wider.astype(np.float32)), cv2.GaussianBlur(PERSON, (0, 0), 1.5))
    assert all(mask is run.fast for mask in run.seconds(1.2))


def test_one_look_alone_changes_nothing() -> None:
    """After the first look, a disagreement that the next look does not confirm leaves no trace."""
    second = Second()
    run = Run(second, PERSON)
    run.seconds(0.2)
    lone = PERSON.copy()
    lone[60:90, 100:130] = 0
    run.rgb[:30] += 40  # something changed, so it looks again
    while second.looks < 2:
        second.mask = lone
        assert run.step() is PERSON
    second.mask = PERSON
    assert all(mask is PERSON for mask in run.seconds(4))


def test_a_hand_before_the_flag_is_the_persons_at_once() -> None:
    """A cell that shows another colour is the fast network's in that very frame, and the flag's again afterwards."""
    second = Second()
    run = Run(second, np.maximum(PERSON, FLAG))
    run.seconds(1.5)
    still = run.rgb.copy()
    run.rgb[30:50, 10:30] = (190, 150, 130)
    second.mask = PERSON.copy()
    second.mask[30:50, 10:30] = 1
    assert run.step()[32:48, 12:28].min() > 0.95
    run.rgb[:] = still
    assert run.step()[32:48, 12:28].max() < 0.05


def test_a_correction_goes_when_two_looks_take_it_back() -> None:
    """A piece that the second network sees as the person's from now on is lit again."""
    second = Second()
    run = Run(second, np.maximum(PERSON, FLAG))
    run.seconds(1.5)
    second.mask = run.fast
    run.rgb[90:] += 30
    assert run.seconds(6)[-1][FLAG > 0].min() > 0.95


def test_looks_are_few() -> None:
    """A picture that never changes is looked at every ten seconds, one whose wall always does at its share."""
    still, moving = Second(), Second()
    Run(still, PERSON).seconds(21)
    assert still.looks == 1 + 20 // STILL_S
    run = Run(moving, PERSON)
    for index in range(20 * FPS):
        run.rgb[:40] = 80 + 60 * (index % 2)
        run.step()
    assert 20 / AVERAGE_S <= moving.looks <= BURST + 20 / AVERAGE_S


def test_looks_become_rare_while_they_change_nothing() -> None:
    """Somebody who moves before the same wall for a minute is looked at half as often; a flag put up there wakes it."""
    second = Second()
    run = Run(second, PERSON)
    for index in range(60 * FPS):
        run.rgb[:40] = np.roll(run.rgb[:40], 11, axis=1)
        run.rgb[50:90, 45:75] = 80 + 60 * (index % 2)
        run.step()
    assert 4 < second.looks <= 3 + 0.5 * 60 / AVERAGE_S
    run.fast = np.maximum(PERSON, FLAG)
    assert run.seconds(7)[-1][(FLAG > 0) & (PERSON == 0)].max() < 0.05


def test_a_face_that_comes_and_goes_takes_no_more_looks() -> None:
    """A stream that starts anew twice a second is looked at no more often on average than one that moves."""
    second = Second()
    run = Run(second, PERSON)
    for index in range(20 * FPS):
        if index % (FPS // 2) == 0:
            run.correction.reset()
        run.step()
    assert second.looks <= BURST + 20 / AVERAGE_S


def test_times_that_begin_anew_are_another_stream() -> None:
    """A clip that begins again is looked at again, and its corrections begin anew."""
    second = Second()
    run = Run(second, np.maximum(PERSON, FLAG))
    run.seconds(1.5)
    looks, run.frames = second.looks, 0
    assert run.step() is run.fast
    assert second.looks == looks + 1
    assert run.seconds(1.2)[-1][FLAG > 0].max() < 0.05


def test_no_frame_waits_for_a_look() -> None:
    """While the second network runs, frames pass with the fast mask; its answer counts from when it is there."""
    begun, may_end = threading.Event(), threading.Event()

    def slow(rgb: np.ndarray) -> np.ndarray:
        begun.set()
        assert may_end.wait(20)
        return PERSON

    matte = SlowMatte(lambda: slow)
    correction = MaskCorrection(matte)
    rgb, fast = picture(), np.maximum(PERSON, FLAG)
    small = rgb.astype(np.float32) / 255

    def step(t_s: float) -> np.ndarray:
        return correction.apply(fast, small, rgb, [centred_face(SIZE, t_s)], t_s)

    assert step(0.0) is fast
    assert begun.wait(20)
    assert all(step(i / FPS) is fast for i in range(1, 5))
    may_end.set()
    assert matte.ask(rgb).result(20) is PERSON  # answers come in order: the first look's is there
    assert step(1.0)[FLAG > 0].max() < 1
    assert step(2.0)[FLAG > 0].max() < 0.05
    matte.close()


def test_without_a_network_the_mask_is_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """Where it cannot be fetched, that is said once for all streams, and nothing more is asked."""
    made = []

    def missing() -> Second:
        made.append(1)
        raise ModelUnavailable("selfie_multiclass was not found", hint="allow the registry")

    matte, rgb = SlowMatte(missing), picture()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            correction = MaskCorrection(matte, wait=True)
            for index in range(5):
                assert correction.apply(PERSON, rgb / np.float32(255), rgb, [centred_face(SIZE, 0)], index) is PERSON
    assert len(made) == 1
    (said,) = caplog.messages
    assert "was not found" in said
    assert "allow the registry" in said


def test_a_look_that_fails_ends_the_looks_and_not_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    """An error inside the second network is logged; the stream goes on with the fast mask."""

    def broken(rgb: np.ndarray) -> np.ndarray:
        raise RuntimeError("out of memory")

    correction = MaskCorrection(SlowMatte(lambda: broken), wait=True)
    rgb = picture()
    for index in range(3):
        assert correction.apply(PERSON, rgb / np.float32(255), rgb, [centred_face(SIZE, 0)], index) is PERSON
    assert "out of memory" in caplog.text


def test_another_size_starts_anew() -> None:
    """A frame of another size is corrected by looks of its own."""
    run = Run(Second(), np.maximum(PERSON, FLAG))
    run.seconds(1.5)
    rgb = np.ascontiguousarray(picture()[:, 20:])
    fast = np.ascontiguousarray(run.fast[:, 20:])
    out = run.correction.apply(fast, rgb / np.float32(255), rgb, [centred_face(rgb.shape[:2], 9)], 9.0)
    assert out is fast
