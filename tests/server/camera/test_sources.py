"""server.camera.sources and feed: a clip plays in real time, and a camera that goes comes back."""

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from server.camera.devices import CameraInfo
from server.camera.feed import Feed
from server.camera.sources import CameraSource, ClipSource, tidy_rate
from server.camera.v4l2 import Mode
from server.errors import CameraError
from tests.clips import make_clip

PICTURE = np.full((48, 64, 3), 90, np.uint8)


class Clock:
    """A clock that only waiting moves; it stands for `time.monotonic` and the stop event."""

    def __init__(self) -> None:
        self.now_s, self.set_at_s = 100.0, float("inf")

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        return self.is_set()

    def is_set(self) -> bool:
        return self.now_s >= self.set_at_s


def test_a_clip_is_played_by_its_own_times_again_and_again(tmp_path: Path) -> None:
    """Uneven times are kept, and the second round follows the first after one interval."""
    clip = make_clip(tmp_path / "clip.mp4", [0.0, 0.1, 0.15, 0.5])
    clock = Clock()
    source = ClipSource(clip, None, clock, clock)
    interval_s = float(1 / source.fps)
    found = []
    for _, t_s in source.frames():
        assert clock.now_s == pytest.approx(t_s)
        found.append(t_s - 100)
        if len(found) == 6:
            break
    again = 0.5 + interval_s
    assert found == pytest.approx([0.0, 0.1, 0.15, 0.5, again, again + 0.1], abs=2e-3)


def test_a_clip_that_decodes_too_slowly_is_not_caught_up_with(tmp_path: Path) -> None:
    """After two lost seconds its times go on from now, so nothing is played fast."""
    clock = Clock()
    source = ClipSource(make_clip(tmp_path / "clip.mp4", [0.0, 0.1, 0.2]), None, clock, clock)
    frames = source.frames()
    next(frames)
    clock.now_s += 2
    assert next(frames)[1] == pytest.approx(102.0)
    assert next(frames)[1] == pytest.approx(102.1, abs=2e-3)


def test_a_clip_of_another_shape_is_letterboxed_and_ends_by_its_event(tmp_path: Path) -> None:
    """A portrait video before a landscape camera has black sides."""
    clock = Clock()
    source = ClipSource(make_clip(tmp_path / "clip.mp4", [0.0, 0.1], 48, 64), (64, 48), clock, clock)
    clock.set_at_s = 100.35
    pictures = [rgb for rgb, _ in source.frames()]
    assert {rgb.shape for rgb in pictures} == {(48, 64, 3)}
    assert pictures[0][:, :10].max() == 0
    assert pictures[0][:, 20:40].mean() > 40
    assert 2 <= len(pictures) < 8


def test_a_camera_without_the_size_says_which_it_has() -> None:
    """Before anything is opened."""
    modes = (Mode("YUYV", 640, 480, (30.0,)), Mode("MJPG", 1280, 720, (30.0,)))
    with pytest.raises(CameraError, match="size=1920x1080") as found:
        CameraSource(CameraInfo(0, "Cam", "/dev/video0", "v4l2", modes), (1920, 1080), None)
    assert found.value.hint == "choose one of 640x480, 1280x720"


def test_a_camera_that_does_not_exist_is_told() -> None:
    """FFmpeg's error becomes a sentence; /dev/null is no camera either."""
    with pytest.raises(CameraError, match="is not there"):
        CameraSource(CameraInfo(99, "Gone", "/dev/video99", "v4l2"), None, None)
    with pytest.raises(CameraError, match="/dev/null is no camera"):
        CameraSource(CameraInfo(0, "Null", "/dev/null", "v4l2"), None, None)


class FakeSource:
    """Gives pictures until `unplugged` is set; counts how often it was opened and closed."""

    fps = Fraction(30)

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.unplugged, self.missing = threading.Event(), threading.Event()

    def __call__(self) -> "FakeSource":
        if self.missing.is_set():
            raise CameraError("camera 'Cam' is not there", "plug it in")
        self.opened += 1
        self.unplugged.clear()
        return self

    def frames(self) -> Iterator[tuple[np.ndarray, float]]:
        while not self.unplugged.wait(0.005):
            yield PICTURE, time.monotonic()
        raise CameraError("camera 'Cam' was unplugged", "plug it in again")

    def close(self) -> None:
        self.closed += 1


def until(condition, limit_s: float = 20.0) -> None:
    """Waits for `condition()`; a machine that is busy may take its time."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_the_camera_is_open_only_while_it_is_wanted() -> None:
    """Wanted, given back, wanted again: each time it is closed."""
    source, stop, frames = FakeSource(), threading.Event(), []
    feed = Feed(source, lambda rgb, t_s: frames.append(t_s), stop)
    feed.start()
    until(lambda: feed.state == "off")
    assert source.opened == 0
    feed.want(True)
    until(lambda: feed.state == "live")
    feed.want(False)
    until(lambda: feed.state == "off")
    assert source.closed == source.opened == 1
    count = len(frames)
    feed.want(True)
    until(lambda: len(frames) > count)
    stop.set()
    feed.join()
    assert source.closed == source.opened == 2


def test_a_camera_that_is_unplugged_is_away_until_it_is_back() -> None:
    """Its error is kept while it is away and gone once pictures come again."""
    source, stop = FakeSource(), threading.Event()
    feed = Feed(source, lambda rgb, t_s: None, stop, retry_s=0.01)
    feed.start()
    feed.want(True)
    until(lambda: feed.state == "live")
    source.missing.set()
    source.unplugged.set()
    until(lambda: feed.state == "away" and "is not there" in str(feed.error))
    assert source.closed == source.opened == 1
    source.missing.clear()
    until(lambda: feed.state == "live")
    assert feed.error is None
    stop.set()
    feed.join()


def test_a_camera_that_says_nothing_is_away() -> None:
    """A driver that hangs in a read gives neither picture nor error."""
    clock = Clock()
    silent = threading.Event()

    def frames() -> Iterator[tuple[np.ndarray, float]]:
        yield PICTURE, 0.0
        silent.wait()

    source, stop = FakeSource(), threading.Event()
    source.frames = frames
    feed = Feed(source, lambda rgb, t_s: None, stop, clock)
    feed.start()
    feed.want(True)
    until(lambda: feed.state == "live")
    clock.now_s += 3
    assert feed.state == "away"
    stop.set()
    silent.set()
    feed.join()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (Fraction(2542, 101), Fraction(25)),
        (Fraction(1_000_000, 33_333), Fraction(30)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (Fraction(24000, 1001), Fraction(24000, 1001)),
        (Fraction(2997, 100), Fraction(30000, 1001)),
        (Fraction(25, 2), Fraction(25, 2)),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)
def test_a_mean_rate_is_taken_for_the_rate_it_means(said: Fraction, meant: Fraction) -> None:
    """MP4 and macOS give means; NTSC's rates and halves stay what they are."""
    assert tidy_rate(said) == meant
