"""Windows of a clip: the published arrangement, every length, tent weights."""

import numpy as np
import pytest

from lcvd.sampling.windows import tent, tile_windows


def test_published_arrangement() -> None:
    """[0, i+1 … i+15] for i = 0, 10, 20 …, the last aligned to the end."""
    windows = tile_windows(40)
    assert windows[0] == list(range(16))
    assert windows[1] == [0, *range(11, 26)]
    assert windows[2] == [0, *range(21, 36)]
    assert windows[3] == [0, *range(25, 40)]
    assert len(windows) == 4


def test_overlap_is_five_frames_and_the_anchor() -> None:
    """Neighbouring windows share frame 0 and five more."""
    first, second = tile_windows(26)
    assert set(first) & set(second) == {0, 11, 12, 13, 14, 15}


@pytest.mark.parametrize("frames", [1, 2, 7, 15, 16, 17, 25, 26, 27, 101])
def test_every_frame_is_covered(frames: int) -> None:
    """Whatever the length, all frames are in some window, the anchor first in each, none twice in one."""
    windows = tile_windows(frames)
    assert set().union(*windows) == set(range(frames))
    for window in windows:
        assert window[0] == 0
        assert window == sorted(set(window))
        assert len(window) == min(16, frames)


def test_tent_by_hand() -> None:
    """(p + 0.5)/8, mirrored: 1/16, 3/16 … 15/16, 15/16 … 1/16."""
    rising = [(p + 0.5) / 8 for p in range(8)]
    np.testing.assert_allclose(tent(16), rising + rising[::-1])
    assert (tent(5) > 0).all()


def test_impossible_tilings_are_refused() -> None:
    """An empty clip, and a hop that would leave frames out, are errors."""
    with pytest.raises(ValueError, match="0 frames"):
        tile_windows(0)
    with pytest.raises(ValueError, match="hop"):
        tile_windows(40, hop=16)
