"""Frames and packets of sound become a video file: H.264 (CRF 18, BT.709) at their own times, with all its sound."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from engine.errors import ClipError
from engine.offline.output_file import create_part, unwritable
from engine.offline.sound import SoundTrack
from engine.offline.video_file import ClipReader
from lcvd.video.picture import CONVERSION

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv")
FAST_START = (".mp4", ".mov", ".m4v")
FINEST_TICK, USUAL_TICK = Fraction(1, 1_000_000), Fraction(1, 90_000)


class ClipWriter:
    """Writes beside `target` and moves the finished file there; takes its clock and its sound from `reader`.

    Raises ClipError where the file cannot be written or its kind cannot carry H.264: before the first frame, since the
    header is written at once. 4:2:0 needs even sides: an odd one is padded by repeating its last line.
    """

    def __init__(self, target: Path, reader: ClipReader, width: int, height: int) -> None:
        self._target = target
        self._tick = _tick(reader.video.time_base)
        self._pad = (height % 2, width % 2)
        self._last_pts = -1
        self._container: OutputContainer
        self._video: av.VideoStream
        self._sounds: dict[int, SoundTrack]
        if target.suffix.lower() not in SUFFIXES:
            raise ClipError(f"{target}: unknown kind of file", f"name a file ending in {', '.join(SUFFIXES)}")
        self._part = create_part(target)
        try:
            # A header may refuse a codec it takes in general, such as MP3 below 16 kHz in MP4; AAC it takes.
            try:
                self._open(reader, width, height, copies=True)
            except (av.FFmpegError, ValueError):
                self._open(reader, width, height, copies=False)
        except (av.FFmpegError, OSError, ValueError) as error:
            self._part.unlink(missing_ok=True)
            raise unwritable(target, error) from None

    def _open(self, reader: ClipReader, width: int, height: int, copies: bool) -> None:
        options = {"movflags": "+faststart"} if self._part.suffix.lower() in FAST_START else {}
        self._container = av.open(str(self._part.absolute()), "w", options=options)
        try:
            video = self._container.add_stream("libx264", rate=reader.info.fps, options={"crf": "18", "preset": "fast"})
            video.width, video.height = width + self._pad[1], height + self._pad[0]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = self._tick
            video.codec_context.colorspace = Colorspace.ITU709
            video.codec_context.color_primaries = ColorPrimaries.BT709
            video.codec_context.color_trc = ColorTrc.BT709
            video.codec_context.color_range = ColorRange.MPEG
            self._video = video
            self._sounds = {
                source.index: SoundTrack(self._container, source, reader.origin_s, copies) for source in reader.sounds
            }
            self._container.start_encoding()
        except BaseException:
            with suppress(av.FFmpegError, OSError):
                self._container.close()
            raise

    def write(self, rgb: NDArray[np.uint8], t_s: float) -> None:
        """Write one frame [H,W,3], shown from `t_s` on."""
        if any(self._pad):
            rgb = np.pad(rgb, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=CONVERSION
        )
        # Two frames may not share a tick: the encoder would refuse the second.
        frame.pts = self._last_pts = max(self._last_pts + 1, round(t_s / self._tick))
        frame.time_base = self._tick
        with self._writing():
            self._container.mux(self._video.encode(frame))

    def write_sound(self, packet: av.Packet) -> None:
        """Write one packet of the source's sound."""
        with self._writing():
            self._sounds[packet.stream.index].write(packet)

    def notes(self) -> list[str]:
        """Tell what of the sound was lost, one sentence each."""
        skipped = sum(track.skipped for track in self._sounds.values())
        told = [f"skipped {skipped} damaged packet{'s' * (skipped > 1)} of sound"] if skipped else []
        if any(track.picks for track in self._sounds.values()):
            told.append("of sound whose channels have no layout, the first two are kept")
        silent = sum(track.written == 0 for track in self._sounds.values())
        return told + ([f"{silent} sound track{'s' * (silent > 1)} had nothing to keep"] if silent else [])

    def close(self) -> None:
        """Flush the encoders, finish the file and move it to its place."""
        with self._writing():
            self._container.mux(self._video.encode(None))
            for track in self._sounds.values():
                track.close()
            self._container.close()
            self._part.replace(self._target)

    def discard(self) -> None:
        """Close without a result."""
        with suppress(av.FFmpegError, OSError, ValueError):
            self._container.close()
        self._part.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            raise unwritable(self._target, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()


def _tick(source: Fraction | None) -> Fraction:
    """Return the source's own time base, so that its stamps stay exact, where H.264 and MP4 can hold it."""
    exact = source is not None and source.numerator == 1 and FINEST_TICK <= source <= Fraction(1, 24)
    return source if source is not None and exact else USUAL_TICK
