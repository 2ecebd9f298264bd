"""Footage gives the frames of the engine's reader, the requested part of them, and errors for unreadable files."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engine.offline.video_file import ClipReader
from tests.clips import make_clip
from tests.engine.offline.odd_clips import quarters, two_pictures, write_clip
from tests.training.synthetic_footage import sway, write_video
from training.errors import FootageError
from training.prepare.footage import Box, Source, read_footage


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", sway(60, 96), fps=25)


@pytest.mark.parametrize("rotation", [0, 90, 180])
def test_frames_are_those_of_the_engines_reader(tmp_path: Path, rotation: int) -> None:
    """Pixels, turns and times agree with engine.offline.video_file, which training may not import."""
    path = make_clip(tmp_path / "a.mp4", [0, 0.03, 0.07, 0.2, 0.21, 0.3], rotation_deg=rotation)
    with ClipReader(path) as reader:
        expected = list(reader.frames())
    found = list(read_footage(Source("a", path)))
    assert len(found) == 6
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(found, expected, strict=True))
    assert [frame.t_s for frame in found] == pytest.approx([frame.t_s for frame in expected])


def test_a_part_of_a_video_is_sought_and_cut_by_its_box(video: Path) -> None:
    """start and end are seconds of the video, the box leaves only its pixels."""
    whole = list(read_footage(Source("a", video)))
    box = Box(0.25, 0.0, 1.0, 0.5, 1, 1)
    part = list(read_footage(Source("a", video, start_s=0.8, end_s=1.6, box=box)))
    assert [frame.number for frame in part] == list(range(21))
    assert part[0].t_s == pytest.approx(0.8)
    assert all(np.array_equal(a.rgb, b.rgb[:48, 24:]) for a, b in zip(part, whole[20:41], strict=True))


def test_numbered_pictures_are_frames_at_the_folders_rate(tmp_path: Path) -> None:
    """Pictures are sorted by name, and time is number over rate, as VFHQ has it."""
    stills = sway(3, 64)
    for i, rgb in enumerate(stills):
        cv2.imwrite(str(tmp_path / f"{i:08d}.png"), rgb[:, :, ::-1])
    found = list(read_footage(Source("a", tmp_path, fps=30)))
    assert [frame.t_s for frame in found] == pytest.approx([0, 1 / 30, 2 / 30])
    assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(found, stills, strict=True))


def test_missing_footage_is_a_gap(tmp_path: Path) -> None:
    """A jump in time is a gap, a variable rate is not."""
    times = [0, 0.033, 0.1, 0.133, 0.9, 0.933]
    found = list(read_footage(Source("a", make_clip(tmp_path / "a.mp4", times))))
    assert [frame.gap for frame in found] == [False, False, False, False, True, False]


def cut_short(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:2000])
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p, v: p / "gone.mp4", "not a readable video"),
        (lambda p, v: ((p / "text.mp4").write_text("no video at all"), p / "text.mp4")[1], "not a readable video"),
        (lambda p, v: cut_short(write_video(p / "cut.mp4", sway(4, 64))), "readable"),
        (lambda p, v: (p / "empty").mkdir() or p / "empty", "no readable frame"),
        (lambda p, v: ((p / "0.png").write_bytes(b"x"), p)[1], "0.png is not a picture"),
    ],
)
def test_what_cannot_be_read_is_told_without_the_machines_paths(
    tmp_path: Path, video: Path, make: object, said: str
) -> None:
    """Every failure is a FootageError with the same text on every machine."""
    path = make(tmp_path, video)  # type: ignore[operator]
    with pytest.raises(FootageError, match=said) as caught:
        list(read_footage(Source("a", path)))
    assert str(tmp_path) not in caught.value.message


def test_boxes_and_times_outside_the_video_are_told(video: Path) -> None:
    """An annotation that does not fit its video raises FootageError."""
    with pytest.raises(FootageError, match="box is"):
        list(read_footage(Source("a", video, box=Box(500, 0, 900, 400, 0, 0))))
    with pytest.raises(FootageError, match=r"between 99\.0 and 100\.0 s"):
        list(read_footage(Source("a", video, start_s=99, end_s=100)))


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Footage that is named after a time of day, relative to where the command runs."""
    make_clip(tmp_path / "plain.mp4", [0.0, 0.1, 0.2])
    (tmp_path / "plain.mp4").rename(tmp_path / "call-12:30.mp4")
    monkeypatch.chdir(tmp_path)
    found = list(read_footage(Source("call", Path("call-12:30.mp4"))))
    assert len(found) == 3


def turned_and_mirrored(path: Path) -> Path:
    return write_clip(path, still=quarters(), set_video=lambda video: video.set_display_rotation(90, hflip=True))


def wide_pixels(path: Path) -> Path:
    def set_video(video: av.VideoStream) -> None:
        video.codec_context.sample_aspect_ratio = Fraction(16, 11)
        video.set_display_rotation(90)

    return write_clip(path, still=quarters(), set_video=set_video)


def high_range(path: Path) -> Path:
    def set_video(video: av.VideoStream) -> None:
        context = video.codec_context
        context.color_trc, context.color_primaries, context.colorspace = 18, 9, 9

    return write_clip(path, still=quarters(), pix_fmt="yuv420p10le", set_video=set_video)


def without_key_frame(path: Path) -> Path:
    dropped: list[av.Packet] = []

    def drop(packet: av.Packet) -> av.Packet | None:
        dropped.append(packet)
        return packet if len(dropped) > 2 else None

    return write_clip(path, on_packet=drop)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (turned_and_mirrored, "a.mp4"),
        (wide_pixels, "a.mov"),
        (high_range, "a.mkv"),
        (without_key_frame, "a.mkv"),
        (lambda path: write_clip(path, fmt="h264"), "a.h264"),
        (lambda path: write_clip(path, begin_s=2.0), "a.ts"),
        (lambda path: two_pictures(path, default=1), "a.mkv"),
        (lambda path: two_pictures(path, default=1, cover=True), "a.mp4"),
    ],
)
def test_odd_footage_is_read_as_the_engine_reads_it(tmp_path: Path, make: Callable[[Path], Path], name: str) -> None:
    """Shape, way up, colours and track are the same for training; its times begin with the picture."""
    path = make(tmp_path / name)
    with ClipReader(path) as reader:
        expected = list(reader.frames())
    found = list(read_footage(Source("a", path)))
    assert len(found) == len(expected) > 3
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(found, expected, strict=True))
    steps = np.diff([frame.t_s for frame in found]), np.diff([frame.t_s for frame in expected])
    assert np.allclose(*steps, atol=2e-3)


def test_a_song_with_a_cover_is_no_footage(tmp_path: Path) -> None:
    """Its only picture is attached to the sound."""

    def cover(video: av.VideoStream) -> None:
        video.disposition = av.stream.Disposition.attached_pic

    sounds = (("aac", 48000, "mono"),)
    song = write_clip(
        tmp_path / "a.m4a", fmt="mp4", codec="mjpeg", pix_fmt="yuvj420p", frames=1, sounds=sounds, set_video=cover
    )
    with pytest.raises(FootageError, match="no video stream"):
        list(read_footage(Source("a", song)))
