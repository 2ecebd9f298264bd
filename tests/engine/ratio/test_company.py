"""A second person in the picture is lit as if alone, without an edge to the first."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from engine.frames import Frame
from engine.protocols import StreamConfig
from engine.ratio.company import Company, LitFace, nearness
from engine.ratio.engine import RatioEngine
from engine.ratio.person_mask import PersonMask
from lcvd.face.neutral import centred_face
from lcvd.types import Face
from tests.engine.synthetic_person import LEFT, DrawnMatte, ScriptedTracker, moved, portrait

HALF = (240, 320)
FACE = np.s_[80:160, 120:200]


class TwoPeople(ScriptedTracker):
    """Follows the person of the right half, and tells the one of the left from `since_s` on, where asked to."""

    others: Mapping[int, Face]

    def __init__(self, tells: bool = True, since_s: float = 0.0) -> None:
        super().__init__()
        self._tells, self._since_s = tells, since_s
        self.others = {}

    def track(self, rgb, t_s):
        face = centred_face(HALF, t_s)
        self.others = {7: face} if self._tells and t_s >= self._since_s else {}
        return moved(face, float(HALF[1]))


def two_masks(rgb: np.ndarray) -> np.ndarray:
    half = DrawnMatte()(rgb[:, : HALF[1]])
    return np.hstack([half, half])


def pictures(tracker: ScriptedTracker, count: int = 12, light=LEFT) -> list[np.ndarray]:
    rgb = np.hstack([portrait(HALF), portrait(HALF)])
    stream = RatioEngine(lambda: tracker, lambda: two_masks).open(StreamConfig(light))
    out = [stream.push(Frame(i, i / 30, rgb))[0].rgb for i in range(count)]
    stream.close()
    return out


def halves(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rgb[:, : HALF[1]].astype(float), rgb[:, HALF[1] :].astype(float)


def test_both_people_are_lit_alike() -> None:
    """Two equal people look equal under a hard light from the left; without the second face the other one does not."""
    other, followed = halves(pictures(TwoPeople())[-1])
    assert np.abs(other - followed)[FACE].mean() < 1.0
    left, right = other[80:160, 130:155].mean(), other[80:160, 165:190].mean()
    assert left > 1.3 * right
    other, followed = halves(pictures(TwoPeople(tells=False))[-1])
    assert np.abs(other - followed)[FACE].mean() > 8


def test_nothing_else_changes_and_there_is_no_edge() -> None:
    """The followed person and the background stay as they were, and the mixing draws no line between the people."""
    alone, together = (pictures(TwoPeople(tells))[-1].astype(float) for tells in (False, True))
    change = np.abs(together - alone)
    assert change[:, HALF[1] + 80 :].max() <= 1
    wall = np.s_[:60, 240:400]
    assert change[wall].max() <= 1
    shoulders = np.s_[225:238, 260:380]  # where the two bodies meet
    blurred = np.abs(np.diff(together[shoulders].mean((0, 2))))
    before = np.abs(np.diff(np.hstack([portrait(HALF), portrait(HALF)])[shoulders].astype(float).mean((0, 2))))
    assert blurred.max() < before.max() + 3


def test_a_newcomer_fades_in() -> None:
    """From the frame that finds the second face their light comes over 0.2 s and in no step of more than a third."""
    shown = [halves(rgb)[0][FACE] for rgb in pictures(TwoPeople(since_s=0.3), count=24)]
    steps = np.array([np.abs(b - a).mean() for a, b in pairwise(shown)])
    whole = np.abs(shown[-1] - shown[6]).mean()
    assert whole > 8
    assert steps[8:16].max() < 0.4 * whole
    assert np.abs(shown[-1] - shown[17]).mean() < 0.1 * whole


def test_who_leaves_fades_out_and_is_forgotten() -> None:
    """A face that is told no longer keeps a falling share, then none."""
    company, face, rgb = Company(), centred_face(HALF), portrait(HALF)
    assert company.update(rgb, {3: face}, 1.0)[0].share == 1
    assert company.update(rgb, {}, 0.4)[0].share == pytest.approx(0.6)
    assert company.update(rgb, {}, 0.7) == ()
    assert company.update(rgb, {3: face}, 0.25)[0].share == 0.25


def test_shares_sum_to_one() -> None:
    """Every pixel is shared out whole; a face's own middle is its own, and what has not faded in is the first one's."""
    first, second = (
        LitFace(moved(centred_face(HALF), dx), np.zeros(9, np.float32), np.ones(3, np.float32), 1.0)
        for dx in (90.0, -90.0)
    )
    weights = nearness([first, second], HALF)
    np.testing.assert_allclose(weights.sum(0), 1, atol=1e-6)
    assert weights[1][120, 70] > 0.98
    assert weights[0][120, 250] > 0.98
    np.testing.assert_allclose(nearness([first, replace(second, share=0.5)], HALF)[1], 0.5 * weights[1], atol=1e-6)


def test_a_person_whom_the_network_overlooks_is_looked_at_alone() -> None:
    """The mask of a frame that holds one of two people gets the other from a crop; seen ones are not asked again."""
    calls = []

    def matte(rgb: np.ndarray) -> np.ndarray:
        calls.append(rgb.shape)
        whole = two_masks(np.zeros((*HALF, 3), np.uint8)) if rgb.shape[1] == 2 * HALF[1] else np.ones((36, 64))
        if rgb.shape[1] == 2 * HALF[1]:
            whole[:, : whole.shape[1] // 2] *= 0.2
        return whole.astype(np.float32)

    rgb, second = np.hstack([portrait(HALF)] * 2), centred_face(HALF)
    main = moved(second, float(HALF[1]))
    mask = PersonMask(matte).segment(rgb, main, [second])
    rows, cols = mask.shape
    assert len(calls) == 2
    assert mask[rows // 2, cols // 4] > 0.95
    assert PersonMask(matte).segment(rgb, second, [main]) is not None
    assert len(calls) == 3
