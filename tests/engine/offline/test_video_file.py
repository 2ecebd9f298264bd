"""Clips in and out: odd sizes, rotation, sound, variable frame rate, broken files."""

from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import ClipError
from engine.frames import Frame, Work
from engine.offline.relight_clip import relight_clip
from engine.offline.video_file import ClipReader
from engine.passthrough import PassthroughEngine
from engine.protocols import StreamConfig
from lcvd.types import Lighting
from tests.clips import make_clip, picture

LIGHT = Lighting(name="any")


def read(path: Path) -> list[Frame]:
    with ClipReader(path) as reader:
        return list(reader.frames())


def test_every_frame_keeps_its_time_and_its_picture(tmp_path: Path) -> None:
    """A variable frame rate goes through with its rhythm, within codec noise."""
    times_s = [0.0, 0.033, 0.2, 0.21, 0.5, 0.9]
    source = make_clip(tmp_path / "in.mp4", times_s)
    assert relight_clip(PassthroughEngine(), LIGHT, source, tmp_path / "out.mp4").frames == len(times_s)
    frames = read(tmp_path / "out.mp4")
    assert [frame.t_s for frame in frames] == pytest.approx(times_s, abs=2e-3)
    for before, after in zip(read(source), frames, strict=True):
        assert np.abs(before.rgb.astype(int) - after.rgb).mean() < 2.5


@pytest.mark.parametrize(("suffix", "audio"), [(".mp4", "aac"), (".mkv", "pcm_s16le"), (".avi", "libmp3lame")])
def test_sound_is_kept(tmp_path: Path, suffix: str, audio: str) -> None:
    """AAC and MP3 are copied; PCM, which few players take in MP4, is transcoded; a second stays a second."""
    source = make_clip(tmp_path / f"in{suffix}", [i / 30 for i in range(30)], audio=audio)
    relight_clip(PassthroughEngine(), LIGHT, source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        decoded = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].codec_context.sample_rate
    samples = np.concatenate(decoded, axis=1)
    assert samples.shape[1] / rate == pytest.approx(1.0, abs=0.15)
    assert np.abs(samples).mean() > 0.01


def test_rotation_metadata_is_applied_once(tmp_path: Path) -> None:
    """A phone's sideways clip comes out upright, with the sides swapped and no rotation left."""
    source = make_clip(tmp_path / "in.mp4", [0.0, 0.1, 0.2], rotation_deg=90)
    with ClipReader(source) as reader:
        assert (reader.info.width, reader.info.height) == (48, 64)
    relight_clip(PassthroughEngine(), LIGHT, source, tmp_path / "out.mp4")
    with ClipReader(tmp_path / "out.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (48, 64)
    expected = np.rot90(picture(0, 64, 48))
    assert np.abs(read(tmp_path / "out.mp4")[0].rgb.astype(int) - expected).mean() < 4


def test_odd_sides_are_padded_by_one(tmp_path: Path) -> None:
    """4:2:0 needs even sides; nothing is cropped away."""
    source = make_clip(tmp_path / "in.mkv", [0.0, 0.1], width=65, height=49)
    relight_clip(PassthroughEngine(), LIGHT, source, tmp_path / "out.mp4")
    first = read(tmp_path / "out.mp4")[0].rgb
    assert first.shape == (50, 66, 3)
    assert np.abs(first[:49, :65].astype(int) - picture(0, 65, 49)).mean() < 4


def test_compare_puts_the_original_left(tmp_path: Path) -> None:
    """Side by side, twice as wide."""

    class Black(PassthroughEngine):
        def open(self, config: StreamConfig):  # type: ignore[no-untyped-def]
            stream = super().open(config)
            stream.render = lambda work: [Frame(f.index, f.t_s, np.zeros_like(f.rgb)) for f in work.frames]
            return stream

    source = make_clip(tmp_path / "in.mp4", [0.0, 0.1])
    relight_clip(Black(), LIGHT, source, tmp_path / "out.mp4", compare=True)
    first = read(tmp_path / "out.mp4")[0].rgb
    assert first.shape == (48, 128, 3)
    assert first[:, :60].mean() > 60
    assert first[:, 68:].mean() < 12


def test_a_clip_waits_for_slow_work(tmp_path: Path) -> None:
    """Offline a stream is opened so that work that takes longer than a frame counts the same in each run."""
    asked = []

    class Asked(PassthroughEngine):
        def open(self, config: StreamConfig):  # type: ignore[no-untyped-def]
            asked.append(config.slow_work)
            return super().open(config)

    relight_clip(Asked(), LIGHT, make_clip(tmp_path / "in.mp4", [0.0, 0.1]), tmp_path / "out.mp4")
    assert asked == ["wait"]


def test_what_a_window_engine_holds_back_is_not_lost(tmp_path: Path) -> None:
    """Frames an engine never returned are written untouched at the end."""

    class Holding(PassthroughEngine):
        def open(self, config: StreamConfig):  # type: ignore[no-untyped-def]
            stream = super().open(config)
            prepare = stream.prepare
            stream.prepare = lambda frame: prepare(frame) if frame.index < 2 else None
            return stream

    source = make_clip(tmp_path / "in.mp4", [0.0, 0.1, 0.2, 0.3])
    assert relight_clip(Holding(), LIGHT, source, tmp_path / "out.mp4").frames == 4
    assert len(read(tmp_path / "out.mp4")) == 4


def test_unreadable_files_say_so(tmp_path: Path) -> None:
    """Missing, text, sound only, empty and unwritable: each error names the file."""
    (tmp_path / "text.mp4").write_text("not a video")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        piece.sample_rate = 16000
        container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    for name, word in [
        ("missing.mp4", "no such file"),
        ("text.mp4", "not a readable"),
        ("sound.mp4", "no video stream"),
    ]:
        with pytest.raises(ClipError, match=word) as caught:
            ClipReader(tmp_path / name)
        assert name in caught.value.message
        assert caught.value.hint
    source = make_clip(tmp_path / "in.mp4", [0.0])
    for target in (tmp_path / "absent" / "out.mp4", tmp_path / "out.txt", tmp_path / "out.webm"):
        with pytest.raises(ClipError):
            relight_clip(PassthroughEngine(), LIGHT, source, target)
        assert not target.exists()


def test_a_crash_leaves_the_old_file(tmp_path: Path) -> None:
    """The target is replaced only by a finished one, and no part file stays."""

    class Raising(PassthroughEngine):
        def open(self, config: StreamConfig):  # type: ignore[no-untyped-def]
            stream = super().open(config)

            def render(work: Work) -> list[Frame]:
                if work.frames[0].index == 2:
                    raise RuntimeError("engine broke")
                return list(work.frames)

            stream.render = render
            return stream

    source = make_clip(tmp_path / "in.mp4", [0.0, 0.1, 0.2, 0.3])
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="engine broke"):
        relight_clip(Raising(), LIGHT, source, target)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("name", ["call-12:30.mp4", "file:a.mp4", "concat:b.mp4", "pipe:0.mp4", "http:c.mp4"])
def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A path is a path, read and written, also where it is relative."""
    make_clip(tmp_path / "plain.mp4", [0.0, 0.1, 0.2])
    monkeypatch.chdir(tmp_path)
    assert relight_clip(PassthroughEngine(), Lighting("x"), Path("plain.mp4"), Path(name)).frames == 3
    assert (tmp_path / name).is_file()
    assert relight_clip(PassthroughEngine(), Lighting("x"), Path(name), Path("again.mp4")).frames == 3
