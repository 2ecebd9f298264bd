"""Clips that people have: each is read whole, shown as it should be, or refused in a sentence."""

import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import ClipError
from engine.frames import Frame
from engine.offline.relight_clip import relight_clip
from engine.offline.video_file import ClipReader
from engine.passthrough import PassthroughEngine
from lcvd.types import Lighting
from tests.engine.offline.odd_clips import FPS, quarters, restamp_flv, times_of, two_pictures, write_clip

AAC = (("aac", 48000, "mono"),)


def relit(source: Path, target: Path | None = None) -> Path:
    target = target or source.with_name("out.mp4")
    relight_clip(PassthroughEngine(), Lighting("any"), source, target)
    return target


def first(path: Path) -> np.ndarray:
    with ClipReader(path) as reader:
        return next(reader.frames()).rgb.astype(int)


@pytest.mark.parametrize(("codec", "fmt"), [("libx264", "h264"), ("libx265", "hevc"), ("mpeg4", "m4v")])
def test_a_bare_stream_without_stamps_is_read_whole(tmp_path: Path, codec: str, fmt: str) -> None:
    """Raw H.264, H.265 and MPEG-4 cannot seek and carry no times: every frame comes, at the usual rate."""
    source = write_clip(tmp_path / f"raw.{fmt}", codec=codec, fmt=fmt, frames=12)
    times = times_of(relit(source))["video"]
    assert len(times) == 12
    assert np.allclose(np.diff(times), 1 / 25, atol=1e-3)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_a_first_frame_that_is_no_key_frame(tmp_path: Path, suffix: str) -> None:
    """What comes before the first key frame cannot be decoded; all that follows is kept, and the sound with it."""
    seen: list[av.Packet] = []

    def drop(packet: av.Packet) -> av.Packet | None:
        if packet.stream.type != "video":
            return packet
        seen.append(packet)
        return packet if len(seen) > 2 else None

    source = write_clip(tmp_path / f"cut{suffix}", frames=20, sounds=AAC, sound_s=0.8, on_packet=drop)
    clip = relight_clip(PassthroughEngine(), Lighting("any"), source, tmp_path / "out.mp4")
    found = times_of(tmp_path / "out.mp4")
    assert len(found["video"]) >= 15
    assert len(found["audio0"]) >= 36
    assert "3 pictures before the first key frame cannot be decoded" in clip.notes


@pytest.mark.parametrize("before_s", [0.1, 0.2, 3.0])
def test_stamps_of_33_bits_wrap_in_picture_and_sound(tmp_path: Path, before_s: float) -> None:
    """MPEG-TS counts to 2^33 ticks; a clip across that loses nothing, and picture and sound stay together."""

    def late(packet: av.Packet) -> av.Packet:
        shift = round(((1 << 33) / 90_000 - before_s) / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        return packet

    options = {"mpegts_copyts": "1"}
    source = write_clip(tmp_path / "a.ts", frames=10, sounds=AAC, on_packet=late, options=options)
    found = times_of(relit(source))
    assert len(found["video"]) == 10
    assert found["video"][-1] - found["video"][0] == pytest.approx(9 / FPS, abs=2e-3)
    assert len(found["audio0"]) >= 18
    assert abs(found["video"][0] - found["audio0"][0]) < 0.06


@pytest.mark.parametrize(("begin_s", "sound_begin_s"), [(2.0, 0.0), (0.0, 1.5), (0.0, 0.0)])
@pytest.mark.parametrize(("suffix", "sound"), [(".mp4", "aac"), (".mkv", "pcm_s16le"), (".ts", "aac")])
def test_the_distance_between_picture_and_sound_stays(
    tmp_path: Path, suffix: str, sound: str, begin_s: float, sound_begin_s: float
) -> None:
    """A picture that begins after the sound, or before it, does so in the result, and neither is cut."""
    source = write_clip(
        tmp_path / f"a{suffix}",
        begin_s=begin_s,
        sound_begin_s=sound_begin_s,
        sounds=((sound, 48000, "mono"),),
        sound_s=1,
    )
    before, after = times_of(source), times_of(relit(source))
    assert len(after["video"]) == 10
    assert after["video"][0] - after["audio0"][0] == pytest.approx(before["video"][0] - before["audio0"][0], abs=0.03)
    assert after["audio0"][-1] - after["audio0"][0] == pytest.approx(0.98, abs=0.06)
    assert min(after["video"][0], after["audio0"][0]) == pytest.approx(0, abs=0.03)


def test_pipes_folders_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    """A FIFO that nobody writes would hang; each is named with the remedy."""
    fifo = tmp_path / "pipe.mp4"
    os.mkfifo(fifo)
    refused: list[ClipError] = []

    def ask(path: Path) -> None:
        with pytest.raises(ClipError) as caught:
            ClipReader(path)
        refused.append(caught.value)

    for path in (fifo, Path("-"), tmp_path, Path("/dev/zero"), tmp_path / "none\0.mp4", tmp_path / ("x" * 300)):
        thread = threading.Thread(target=ask, args=(path,), daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), path
    assert len(refused) == 6
    assert [
        word in error.message
        for word, error in zip(("pipe", "standard input", "folder", "device"), refused, strict=False)
    ] == [True] * 4
    assert all(error.hint for error in refused)


def test_a_clip_without_a_frame_is_an_error(tmp_path: Path) -> None:
    """Sound with a picture that cannot be decoded leaves no file behind."""
    source = write_clip(
        tmp_path / "a.mkv", sounds=AAC, on_packet=lambda packet: None if packet.stream.type == "video" else packet
    )
    with pytest.raises(ClipError, match="no decodable frame"):
        relit(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv"]


@pytest.mark.parametrize("matrix", ["turn", "mirror"])
@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_the_whole_display_matrix_is_obeyed(tmp_path: Path, quarter: int, matrix: str) -> None:
    """All eight orientations: turned counter-clockwise, then mirrored."""
    source = write_clip(
        tmp_path / "a.mp4",
        still=quarters(),
        frames=2,
        set_video=lambda video: video.set_display_rotation(90 * quarter, hflip=matrix == "mirror"),
    )
    expected = np.rot90(quarters(), quarter)
    if matrix == "mirror":
        expected = expected[:, ::-1]
    assert np.abs(first(source) - expected).mean() < 6
    assert np.abs(first(relit(source)) - expected).mean() < 8


def test_an_odd_turn_is_told_and_shown_as_the_nearest(tmp_path: Path) -> None:
    """Seventy degrees are shown as ninety."""
    source = write_clip(
        tmp_path / "a.mp4", still=quarters(), frames=2, set_video=lambda video: video.set_display_rotation(70)
    )
    with ClipReader(source) as reader:
        rgb = next(reader.frames()).rgb.astype(int)
        assert np.abs(rgb - np.rot90(quarters())).mean() < 6
        assert any("20°" in note for note in reader.notes())


def set_aspect(text: str, turn: int = 0):
    def change(video: av.VideoStream) -> None:
        video.codec_context.sample_aspect_ratio = Fraction(text)
        if turn:
            video.set_display_rotation(turn)

    return change


@pytest.mark.parametrize(
    ("aspect", "turn", "size"),
    [
        ("16/11", 0, (140, 64)),
        ("15/16", 0, (96, 68)),
        ("16/11", 90, (64, 140)),
        ("1/2", 180, (96, 128)),
        ("999/1", 0, (96, 64)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_pixels_become_square(tmp_path: Path, aspect: str, turn: int, size: tuple[int, int], suffix: str) -> None:
    """The stored 96×64 gets the shape it is shown in, also turned; a ratio that cannot be is ignored."""
    if turn and suffix == ".ts":
        pytest.skip("MPEG-TS holds no matrix")
    source = write_clip(tmp_path / f"a{suffix}", still=quarters(), frames=6, set_video=set_aspect(aspect, turn))
    with ClipReader(source) as reader:
        assert (reader.info.width, reader.info.height) == size
        rgb = next(reader.frames()).rgb.astype(int)
    expected = np.rot90(quarters(), turn // 90)
    for y in (0.25, 0.75):
        for x in (0.25, 0.75):
            shown = rgb[int(y * size[1]), int(x * size[0])]
            assert np.abs(shown - expected[int(y * expected.shape[0]), int(x * expected.shape[1])]).max() < 12
    with av.open(str(relit(source))) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)


@pytest.mark.parametrize("kind", ["size", "aspect"])
def test_a_picture_that_changes_its_shape_is_fitted_with_bars(tmp_path: Path, kind: str) -> None:
    """A recording joined from two: what comes second keeps its shape inside the first one's."""
    second = quarters(64, 96) if kind == "size" else quarters()
    one = write_clip(tmp_path / "1.ts", still=quarters(), frames=5)
    other = write_clip(
        tmp_path / "2.ts",
        still=second,
        frames=5,
        begin_s=5 / FPS,
        set_video=set_aspect("1/1" if kind == "size" else "1/2"),
    )
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    with ClipReader(joined) as reader:
        frames = [frame.rgb for frame in reader.frames()]
        assert any("bars" in note for note in reader.notes())
    assert len(frames) == 10
    assert {frame.shape for frame in frames} == {(64, 96, 3)}
    # 64×96, or 96×64 of pixels half as wide, fits into 96×64 as 43×64 or 48×64.
    wide = 43 if kind == "size" else 48
    lit = np.flatnonzero(frames[-1].max(axis=(0, 2)) > 40)
    assert lit[-1] - lit[0] + 1 == pytest.approx(wide, abs=2)
    assert frames[0].max(axis=(0, 2)).min() > 40


@pytest.mark.parametrize(
    "change",
    [
        lambda number, stamp: stamp if number % 5 else max(stamp - 21, 0),
        lambda number, stamp: stamp if number % 7 != 3 else stamp // 2,
        lambda number, stamp: 0,
        lambda number, stamp: stamp % 300,
    ],
    ids=["repeated", "falling", "all zero", "joined"],
)
def test_stamps_of_copied_sound_are_mended(tmp_path: Path, change) -> None:
    """Every packet is kept and stamps rise; a second of sound stays a second."""
    source = write_clip(tmp_path / "a.flv", codec="flv1", frames=25, sounds=(("aac", 44100, "mono"),), sound_s=1)
    packets = len(times_of(source)["audio0"])
    restamp_flv(source, change)
    found = times_of(relit(source))["audio0"]
    assert len(found) == packets
    assert np.all(np.diff(found) > 0)
    assert found[-1] - found[0] == pytest.approx((packets - 1) * 1024 / 44100, abs=0.1)
    assert len(times_of(relit(source))["video"]) == 25


@pytest.mark.parametrize(
    ("suffix", "sound", "expected"),
    [
        (".mov", ("pcm_s24le", 192000, "mono"), ("aac", 48000, 1)),
        (".mkv", ("pcm_s16le", 37000, "stereo"), ("aac", 44100, 2)),
        (".mkv", ("pcm_s16le", 4000, "mono"), ("aac", 8000, 1)),
        (".mkv", ("pcm_s16le", 48000, "5.1"), ("aac", 48000, 6)),
        (".mkv", ("pcm_s16le", 48000, "7.1"), ("aac", 48000, 8)),
        (".mkv", ("pcm_s16le", 44100, "quad"), ("aac", 44100, 2)),
        (".mov", ("pcm_s16le", 44100, "hexadecagonal"), ("aac", 44100, 2)),
        (".mkv", ("pcm_s16le", 96000, "9 channels"), ("aac", 48000, 2)),
        (".mkv", ("flac", 96000, "5.1"), ("flac", 96000, 6)),
        (".mkv", ("libmp3lame", 11025, "mono"), ("aac", 11025, 1)),
    ],
)
def test_sound_that_the_target_lacks_is_resampled(tmp_path: Path, suffix: str, sound: tuple, expected: tuple) -> None:
    """Rates and layouts that AAC has not, and a copy that the MP4 header refuses, become AAC of the same length."""
    source = write_clip(tmp_path / f"a{suffix}", sounds=(sound,))
    with av.open(str(relit(source))) as container:
        context = container.streams.audio[0].codec_context
        assert (context.codec.canonical_name, context.sample_rate, context.channels) == expected
        # Mixed down first: PyAV 18.1's to_ndarray reads past the end of a frame of eight planes.
        mono = av.AudioResampler(format="flt", layout="mono", rate=context.sample_rate)
        pieces = [piece for frame in container.decode(audio=0) for piece in mono.resample(frame)]
        samples = np.concatenate([piece.to_ndarray()[0] for piece in pieces])
    if expected[0] == "aac":
        assert samples.size / context.sample_rate == pytest.approx(0.4, abs=0.2 if sound[1] < 12000 else 0.06)
        crossings = np.count_nonzero(np.diff(np.signbit(samples[samples.size // 4 : -samples.size // 4])))
        assert crossings / (samples.size // 2) * context.sample_rate == pytest.approx(880, rel=0.05)


@pytest.mark.parametrize("sound", ["aac", "libopus", "vorbis", "flac"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_damaged_sound_is_skipped_and_counted_once(tmp_path: Path, sound: str, suffix: str) -> None:
    """Packets of noise cost themselves and not the clip; one note says how many."""
    generator, seen = np.random.default_rng(0), 0

    def damage(packet: av.Packet) -> av.Packet:
        nonlocal seen
        if packet.stream.type == "video":
            return packet
        seen += 1
        if seen % 6 != 4:
            return packet
        noise = av.Packet(generator.integers(0, 256, max(packet.size, 8), np.uint8).tobytes())
        noise.pts, noise.dts, noise.duration = packet.pts, packet.dts, packet.duration
        noise.time_base, noise.stream = packet.time_base, packet.stream
        return noise

    source = write_clip(tmp_path / "a.mkv", frames=25, sounds=((sound, 48000, "stereo"),), sound_s=1, on_packet=damage)
    target = tmp_path / f"out{suffix}"
    clip = relight_clip(PassthroughEngine(), Lighting("any"), source, target)
    assert clip.frames == 25
    counted = [note for note in clip.notes if "of sound" in note]
    assert len(counted) == (sound == "vorbis")  # it alone is decoded: the others are copied as they are
    before, after = (sum(packet.size > 0 for packet in av.open(str(path)).demux(audio=0)) for path in (source, target))
    assert after > 30 if sound == "vorbis" else after == before > 10


def test_every_sound_is_kept_and_the_default_stays_default(tmp_path: Path) -> None:
    """Two languages: both are there, with their names, and the second is still the one that plays."""

    def name(tracks: list) -> None:
        tracks[0].disposition = 0
        tracks[1].disposition = av.stream.Disposition.default
        for track, language in zip(tracks, ("deu", "eng"), strict=True):
            track.metadata["language"] = language

    source = write_clip(tmp_path / "a.mkv", sounds=(*AAC, ("aac", 44100, "stereo")), set_sounds=name)
    for target in (tmp_path / "out.mp4", tmp_path / "out.mkv"):
        clip = relight_clip(PassthroughEngine(), Lighting("any"), source, target)
        assert clip.sounds == 2
        with av.open(str(target)) as container:
            tracks = container.streams.audio
            assert [track.codec_context.sample_rate for track in tracks] == [48000, 44100]
            assert [track.metadata["language"] for track in tracks] == ["deu", "eng"]
            assert [bool(track.disposition & av.stream.Disposition.default) for track in tracks] == [False, True]


@pytest.mark.parametrize(("default", "level"), [(0, 40), (1, 200)])
def test_the_default_picture_is_taken(tmp_path: Path, default: int, level: int) -> None:
    """Of two tracks of video the one that is marked; the other is told."""
    source = two_pictures(tmp_path / "a.mkv", default)
    assert first(source).mean() == pytest.approx(level, abs=4)
    clip = relight_clip(PassthroughEngine(), Lighting("any"), source, tmp_path / "out.mp4")
    assert any("1 further video track" in note for note in clip.notes)


def test_a_cover_is_no_picture(tmp_path: Path) -> None:
    """A film with a cover is the film; a sound file with a cover has no video."""
    assert first(two_pictures(tmp_path / "a.mp4", 1, cover=True)).mean() == pytest.approx(200, abs=4)

    def cover(video: av.VideoStream) -> None:
        video.disposition = av.stream.Disposition.attached_pic

    song = write_clip(
        tmp_path / "song.m4a", fmt="mp4", codec="mjpeg", pix_fmt="yuvj420p", frames=1, sounds=AAC, set_video=cover
    )
    with pytest.raises(ClipError, match="no video stream, only a cover"):
        ClipReader(song)


def test_subtitles_are_told(tmp_path: Path) -> None:
    """A track of text is left out and named."""
    source = tmp_path / "a.mkv"
    with av.open(str(write_clip(tmp_path / "plain.mkv"))) as plain, av.open(str(source), "w") as container:
        video = container.add_stream_from_template(plain.streams.video[0])
        text = container.add_mux_stream("subrip")
        container.start_encoding()
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        line = av.Packet(b"Hello")
        line.pts, line.dts, line.duration, line.time_base, line.stream = 0, 0, 300, video.time_base, text
        container.mux(line)
    clip = relight_clip(PassthroughEngine(), Lighting("any"), source, tmp_path / "out.mp4")
    assert "left out: 1 subtitle track" in clip.notes


def test_a_file_that_breaks_off_keeps_what_was_there(tmp_path: Path) -> None:
    """Matroska and MPEG-TS without their end: the frames up to there, in order."""
    for suffix in (".mkv", ".ts"):
        whole = write_clip(tmp_path / f"a{suffix}", frames=40, sounds=AAC, sound_s=1.6)
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
        with ClipReader(whole) as reader:
            items = list(reader.items())
        frames = [item for item in items if isinstance(item, Frame)]
        assert 10 < len(frames) < 40
        assert [frame.index for frame in frames] == list(range(len(frames)))


def test_sound_before_the_first_picture_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held in memory until the picture begins, and only so much of it."""
    source = write_clip(tmp_path / "a.mp4", begin_s=2.0, sounds=AAC, sound_s=2.5)
    monkeypatch.setattr("engine.offline.video_file.MAX_HELD_BYTES", 5000)
    with pytest.raises(ClipError, match="of sound come without a picture") as caught:
        ClipReader(source)
    assert "cut the clip" in caught.value.hint
