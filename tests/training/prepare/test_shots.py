"""Cuts and dissolves are found where they are, and motion is not taken for one."""

import itertools

import numpy as np
import pytest

from tests.training.synthetic_footage import sway, walls
from training.prepare.shots import REACH, CutDetector


def starts(frames: list[np.ndarray]) -> list[int]:
    detector = CutDetector()
    return [i for i, frame in enumerate(frames) if detector.starts_shot(frame)]


def test_a_cut_begins_a_shot_at_its_first_frame() -> None:
    """The frame after the cut is named, and nothing else."""
    assert starts(sway(20, 96) + walls(20, 96) + sway(20, 96)) == [20, 40]


def test_a_swaying_head_is_one_shot() -> None:
    """Motion of a talking head is far below a cut."""
    assert starts(sway(60, 96)) == []


def test_a_dissolve_is_found() -> None:
    """A picture that slowly becomes another has no jump, yet is another shot."""
    a, b = sway(1, 96)[0].astype(float), walls(1, 96)[0].astype(float)
    mix = [((1 - t) * a + t * b).astype(np.uint8) for t in np.linspace(0, 1, 30)]
    steps = [np.abs(x.astype(float) - y).mean() / 255 for x, y in itertools.pairwise(mix)]
    assert max(steps) < 0.02
    found = starts([mix[0]] * 10 + mix + [mix[-1]] * REACH)
    assert found
    assert 10 < found[0] < 40


@pytest.mark.parametrize("gain", [1.04, 0.96])
def test_flicker_is_no_cut(gain: float) -> None:
    """A lamp that flickers by 4 % starts no shot."""
    frames = [np.clip(f * (gain if i % 2 else 1.0), 0, 255).astype(np.uint8) for i, f in enumerate(sway(40, 96))]
    assert starts(frames) == []
