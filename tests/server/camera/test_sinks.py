"""server.camera.sinks: readers that nobody here wrote get the right pictures, and every end is told plainly."""

import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from server.camera.sinks import ReaderGone, VirtualCameraSink, Y4mSink, make_sink
from server.errors import CameraError
from tests.ffmpeg import read_video
from tests.server.camera.fake_backend import FakeBackend

BARS = np.array(
    [
        [235, 235, 235],
        [235, 235, 16],
        [16, 235, 235],
        [16, 235, 16],
        [235, 16, 16],
        [16, 16, 235],
        [90, 90, 90],
        [8, 8, 8],
    ],
    np.uint8,
)


def bars(width: int, height: int) -> np.ndarray:
    """Eight colours side by side."""
    return np.repeat(np.broadcast_to(np.repeat(BARS, width // 8, 0), (1, width, 3)), height, 0)


def centres(rgb: np.ndarray) -> np.ndarray:
    """The colour in the middle of each bar, int [8,3]."""
    step = rgb.shape[1] // 8
    return rgb[rgb.shape[0] // 2, step // 2 :: step].astype(int)


@pytest.mark.parametrize(("width", "height", "matrix"), [(640, 480, ""), (1280, 720, "bt709")])
def test_ffmpeg_reads_the_colours_rate_and_range_of_a_y4m_file(
    tmp_path: Path, width: int, height: int, matrix: str
) -> None:
    """Up to 576 lines without a word, above with the matrix that players take for granted."""
    target = tmp_path / "out.y4m"
    sink = make_sink(f"y4m:{target}", False, threading.Event())
    sink.open(width, height, Fraction(30000, 1001))
    for _ in range(3):
        sink.write(bars(width, height), 0.0)
    sink.close()
    read = read_video(target, matrix)
    assert read.frames.shape == (3, height, width, 3)
    # Two roundings to 8 bits, of YUV with 220 levels and back: 2 levels each way.
    assert np.abs(centres(read.frames[-1]) - BARS).max() <= 4
    assert read.fps == Fraction(30000, 1001)
    assert read.limited
    assert b"C420mpeg2" in target.read_bytes()[:100]  # left of the pixels it belongs to, as the conversion puts it


def test_a_file_keeps_each_pictures_own_time(tmp_path: Path) -> None:
    """Variable rates are written as they came, to a millisecond, which is Matroska's clock."""
    target, times = tmp_path / "out.mkv", [0.0, 0.04, 0.05, 0.3, 2.0, 2.033]
    sink = make_sink(str(target), False, threading.Event())
    sink.open(64, 48, Fraction(30))
    for t_s in times:
        sink.write(np.full((48, 64, 3), 120, np.uint8), t_s)
    sink.close()
    with av.open(str(target)) as container:
        found = [frame.time for frame in container.decode(video=0)]
        assert container.streams.video[0].codec_context.color_range == 1  # limited
    assert found == pytest.approx(times, abs=1e-3)


def test_a_reader_that_goes_ends_it_quietly() -> None:
    """A broken pipe is `head` having had enough."""
    reading, writing = os.pipe()
    sink = Y4mSink(writing, threading.Event())
    sink.open(64, 48, Fraction(30))
    os.close(reading)
    with pytest.raises(ReaderGone):
        sink.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    sink.close()
    sink.close()


def test_a_reader_that_stands_still_does_not_keep_the_end_waiting() -> None:
    """The pipe is full, nobody reads, and the end is asked for: it comes, and the descriptor is as it was."""
    reading, writing = os.pipe()
    kept = os.dup(writing)
    stop = threading.Event()
    sink = Y4mSink(writing, stop)
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(ReaderGone):
        sink.write(np.zeros((480, 640, 3), np.uint8), 0.0)
    assert os.fstat(kept)
    sink.close()
    assert os.get_blocking(kept)
    os.close(kept)
    os.close(reading)


def test_a_named_pipe_waits_for_its_reader_and_for_the_end(tmp_path: Path) -> None:
    """Nothing is opened before somebody reads; without a reader the end still comes."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(ReaderGone):
        make_sink(f"y4m:{pipe}", False, stop)
    found: list[bytes] = []

    def read() -> None:
        time.sleep(0.1)
        with pipe.open("rb") as file:
            found.append(file.read())

    thread = threading.Thread(target=read)
    thread.start()
    sink = make_sink(f"y4m:{pipe}", False, threading.Event())
    sink.open(64, 48, Fraction(30))
    sink.close()
    thread.join()
    assert found[0].startswith(b"YUV4MPEG2 W64 H48 F30:1 ")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("out.avi", "is no output"),
        ("out.mp4", "is no output"),
        ("nowhere/out.mkv", "does not exist"),
        ("there.mkv", "exists already"),
        ("y4m:there.mkv", "exists already"),
        ("y4m:nowhere/out.y4m", "does not exist"),
        ("folder.mkv", "is a folder"),
    ],
)
def test_a_target_that_cannot_be_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, words: str
) -> None:
    """Before any camera is opened, with the target in the sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.mkv").write_bytes(b"precious")
    (tmp_path / "folder.mkv").mkdir()
    with pytest.raises(CameraError, match=words) as found:
        make_sink(target, False, threading.Event())
    assert target.removeprefix("y4m:") in found.value.message
    assert found.value.hint
    assert (tmp_path / "there.mkv").read_bytes() == b"precious"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_one_sentence() -> None:
    """y4m at its first picture."""
    sink = make_sink("y4m:/dev/full", False, threading.Event())
    with pytest.raises(CameraError, match="No space left") as found:
        sink.open(64, 48, Fraction(30))
    assert "free some space" in found.value.hint
    sink.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_ends_a_file_in_one_sentence(tmp_path: Path) -> None:
    """Matroska, whichever call meets it first."""
    (tmp_path / "out.mkv").symlink_to("/dev/full")
    sink = make_sink(str(tmp_path / "out.mkv"), True, threading.Event())
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)

    def record() -> None:
        sink.open(320, 240, Fraction(30))
        for i in range(60):
            sink.write(noise, i / 30)
        sink.close()

    with pytest.raises(CameraError, match="cannot be written: No space left"):
        record()
    sink.close()


def test_pictures_reach_a_virtual_camera_as_they_are(backend: type[FakeBackend]) -> None:
    """RGB of the right shape, also where the array is a slice; the device's name is known; closed once."""
    sink = make_sink("/dev/video7", False, threading.Event())
    sink.open(64, 48, Fraction(30))
    assert sink.device == "/dev/video7"
    sink.write(bars(80, 48)[:, 8:72], 0.0)
    sink.close()
    sink.close()
    picture, end = backend.sent
    assert (picture == bars(80, 48)[:, 8:72]).all()
    assert end.size == 0


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "No v4l2 loopback device found at /dev/video[0-99].",
            "no virtual camera is installed",
            "apt install v4l2loopback",
        ),
        ("Could not access /dev/video2 due to missing permissions.", "may not be opened", "usermod"),
        ("Device or resource busy", "in use by another program", "close OBS"),
    ],
)
def test_a_virtual_camera_that_is_not_there_is_told_with_its_commands(
    backend: type[FakeBackend], monkeypatch: pytest.MonkeyPatch, said: str, message: str, hint: str
) -> None:
    """pyvirtualcam's words become one sentence and what to type."""
    monkeypatch.setattr(backend, "refusal", said)
    monkeypatch.setattr("server.camera.remedies.this_system", lambda: "debian")
    monkeypatch.setattr("server.camera.sinks.this_system", lambda: "debian")
    sink = VirtualCameraSink(None)
    with pytest.raises(CameraError, match=message) as found:
        sink.open(64, 48, Fraction(30))
    assert hint in found.value.hint


def test_without_pyvirtualcam_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what works without it."""
    monkeypatch.setitem(__import__("sys").modules, "pyvirtualcam", None)
    with pytest.raises(CameraError, match="needs pyvirtualcam") as found:
        make_sink("camera", False, threading.Event())
    assert "pip install -e '.[camera]'" in found.value.hint
    assert "y4m:-" in found.value.hint
