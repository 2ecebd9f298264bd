"""The sample portrait moves gently, closes its loop, and leaves room for the timecode."""

from itertools import islice

import numpy as np
import pytest

from engine.bench.sample_clip import PERIOD_S, load_portrait, sample_frame, sample_frames


@pytest.mark.parametrize("size", [(480, 640), (640, 360), (120, 160)])
def test_size_and_motion(size: tuple[int, int]) -> None:
    """Frames have the size asked for and differ a little from one to the next."""
    first, second = islice(sample_frames(size), 2)
    assert first.shape == (*size, 3)
    assert first.dtype == np.uint8
    difference = np.abs(first.astype(int) - second).mean()
    assert 0.05 < difference < 10


def test_the_loop_closes() -> None:
    """After one period it is the same picture."""
    portrait = load_portrait()
    a, b = (sample_frame(portrait, (240, 320), t) for t in (0.3, 0.3 + PERIOD_S))
    assert np.abs(a.astype(int) - b).max() <= 2
