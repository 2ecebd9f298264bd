"""engine.diffusion.window: which frames a window holds, in which order, and how windows overlap."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.diffusion.window import DEFAULT_STRIDE, STRIDES, WINDOW, RollingWindow, Window, WindowShape
from engine.frames import Frame, Work
from lcvd.face.neutral import centred_face
from lcvd.sampling.windows import tile_windows
from lcvd.types import Lighting


def fed(stride: int, count: int) -> list[Work]:
    """`count` frames through a window; frame i has light "i" and hint of grey i, every third one no face."""
    window = RollingWindow(WindowShape(stride))
    works = []
    for i in range(count):
        face = None if i % 3 == 0 else centred_face((32, 32), i / 25)
        hint = np.full((8, 8, 3), i, np.uint8)
        work = window.add(Frame(i, i / 25, np.zeros((32, 32, 3), np.uint8)), face, Lighting(str(i)), hint)
        works += [work] if work else []
    assert len(window) == count % stride
    return works


@pytest.mark.parametrize("stride", STRIDES)
def test_a_window_comes_every_stride_frames_in_order(stride: int) -> None:
    """Each frame is fresh exactly once, with its own face, light and hint."""
    works = fed(stride, 3 * stride + 1)
    assert [len(work.frames) for work in works] == [stride] * 3
    seen = 0
    for number, work in enumerate(works):
        assert isinstance(work.payload, Window)
        assert work.payload.number == number
        assert work.payload.hints.shape == (stride, 8, 8, 3)
        for frame, face, light, hint in zip(work.frames, work.faces, work.lightings, work.payload.hints, strict=True):
            assert frame.index == seen
            assert light.name == str(seen)
            assert (hint == seen).all()
            assert face is None if seen % 3 == 0 else face is not None and face.t_s == frame.t_s
            seen += 1


def test_the_default_is_the_published_overlap() -> None:
    """16 = anchor + 5 shared + 10 fresh, and later windows are those of the offline tiling."""
    shape = WindowShape()
    assert (shape.size, shape.hop, shape.context, shape.overlap) == (WINDOW, DEFAULT_STRIDE, 5, 6)
    assert [shape.clip_frames(n) for n in range(4)] == tile_windows(46)


@pytest.mark.parametrize("stride", STRIDES)
def test_context_is_the_end_of_the_window_before(stride: int) -> None:
    """Rows 1 … context of a window are the last rows of the one before it."""
    shape = WindowShape(stride)
    for number in range(5):
        before, after = shape.clip_frames(number), shape.clip_frames(number + 1)
        assert len(after) == WINDOW
        assert after[0] == 0
        assert after[1 : shape.overlap] == before[-shape.context :]
        assert not set(after[shape.overlap :]) & set(before)


@pytest.mark.parametrize("stride", [0, 15, 16])
def test_impossible_strides_are_refused(stride: int) -> None:
    """A window needs a fresh frame and a context."""
    with pytest.raises(ValueError, match=f"hop={stride}"):
        WindowShape(stride)


def test_windows_need_no_torch() -> None:
    """The host half runs where torch is missing."""
    code = "import sys; sys.modules['torch'] = None; import engine.diffusion.window"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], timeout=60)
