"""Writes small clips that are odd in one way each: what people's cameras, editors and downloads leave behind."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.clips import picture

FPS, SAMPLES = 25, 1024


def quarters(width: int = 96, height: int = 64) -> np.ndarray:
    """[H,W,3] Four colours, one a corner, so that every turn and mirror shows."""
    rgb = np.full((height, width, 3), 90, np.uint8)
    rgb[: height // 2, : width // 2] = 200, 60, 60
    rgb[: height // 2, width // 2 :] = 60, 180, 60
    rgb[height // 2 :, : width // 2] = 60, 60, 200
    return rgb


def tone(channels: int, rate: int, begin: int, samples: int = SAMPLES) -> np.ndarray:
    """int16 [1, samples·channels] of a packed sine."""
    wave = 8000 * np.sin(2 * np.pi * 440 * np.arange(begin, begin + samples) / rate)
    return np.repeat(wave.astype(np.int16), channels)[None]


def write_clip(
    path: Path,
    *,
    frames: int = 10,
    still: np.ndarray | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    begin_s: float = 0.0,
    sounds: tuple[tuple[str, int, str], ...] = (),  # codec, rate, layout
    sound_begin_s: float = 0.0,
    sound_s: float = 0.4,
    options: dict[str, str] | None = None,
    set_video: Callable[[av.VideoStream], None] = lambda video: None,
    set_sounds: Callable[[list[av.AudioStream]], None] = lambda sounds: None,
    on_packet: Callable[[av.Packet], av.Packet | None] = lambda packet: packet,
    fmt: str | None = None,
) -> Path:
    """Writes `frames` pictures at FPS; `on_packet` may change or drop what is muxed, in presentation order by track."""
    with av.open(str(path), "w", format=fmt, options=options or {}) as container:
        height, width = (48, 64) if still is None else still.shape[:2]
        video = container.add_stream(codec, rate=FPS)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        if codec in ("libx264", "libx265"):
            video.options = {"preset": "ultrafast", "crf": "10", "bf": "0", "g": "5"}
        set_video(video)
        tracks = []
        for name, rate, layout in sounds:
            track = container.add_stream(name, rate=rate)
            track.codec_context.layout = layout
            if name == "vorbis":
                track.options = {"strict": "experimental"}
            tracks.append(track)
        set_sounds(tracks)
        container.start_encoding()

        def mux(packets: list[av.Packet]) -> None:
            for packet in packets:
                kept = on_packet(packet)
                if kept is not None:
                    container.mux(kept)

        for packets in _interleaved(video, tracks, frames, still, (begin_s, sound_begin_s, sound_s)):
            mux(packets)
    return path


def _interleaved(
    video: av.VideoStream, tracks: list, frames: int, still: np.ndarray | None, times: tuple[float, float, float]
) -> Iterator[list[av.Packet]]:
    begin_s, sound_begin_s, sound_s = times
    pieces = []
    for index in range(frames):
        rgb = picture(index, video.width, video.height) if still is None else still
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts, frame.time_base = index + round(begin_s * FPS), Fraction(1, FPS)
        pieces.append((begin_s + index / FPS, video, frame))
    for track in tracks:
        rate, channels = track.codec_context.sample_rate, track.codec_context.channels
        for begin in range(0, round(sound_s * rate), SAMPLES):
            layout = track.codec_context.layout.name
            piece = av.AudioFrame.from_ndarray(tone(channels, rate, begin), format="s16", layout=layout)
            piece.sample_rate, piece.pts = rate, begin + round(sound_begin_s * rate)
            piece.time_base = Fraction(1, rate)
            pieces.append((sound_begin_s + begin / rate, track, piece))
    for _, stream, piece in sorted(pieces, key=lambda entry: entry[0]):
        yield stream.encode(piece)
    for stream in (video, *tracks):
        yield stream.encode(None)


def restamp_flv(path: Path, change: Callable[[int, int], int]) -> None:
    """Rewrites the stamp in ms of each sound tag of an FLV file: `change(number, stamp)`."""
    data = bytearray(path.read_bytes())
    at, number = 13, 0
    while at + 11 < len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        if data[at] == 8 and data[at + 12] == 1:  # sound, and not the decoder's configuration
            stamp = int.from_bytes(data[at + 4 : at + 7], "big")
            data[at + 4 : at + 7] = change(number, stamp).to_bytes(3, "big")
            number += 1
        at += 11 + size + 4
    path.write_bytes(data)


def times_of(path: Path) -> dict[str, list[float]]:
    """Returns the presentation times of the first picture and of every sound track: "video", "audio0", …"""
    found: dict[str, list[float]] = {}
    with av.open(str(path)) as container:
        names = {container.streams.video[0].index: "video"}
        names |= {track.index: f"audio{number}" for number, track in enumerate(container.streams.audio)}
        for packet in container.demux([*container.streams.video[:1], *container.streams.audio]):
            for frame in packet.decode():
                found.setdefault(names[packet.stream.index], []).append(float(frame.time))
    return found


def two_pictures(path: Path, default: int, cover: bool = False) -> Path:
    """Writes a dark and a bright track of video; `cover` marks the first as a cover picture."""
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("mjpeg" if cover and n == 0 else "libx264", rate=FPS) for n in range(2)]
        for number, track in enumerate(tracks):
            track.width, track.height = 64, 48
            track.pix_fmt = "yuvj420p" if cover and number == 0 else "yuv420p"
            track.disposition = av.stream.Disposition.default if number == default else 0
        if cover:
            tracks[0].disposition = av.stream.Disposition.attached_pic
        for track, level in zip(tracks, (40, 200), strict=True):
            for index in range(1 if cover and level == 40 else 5):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
                frame.pts = index
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return path
