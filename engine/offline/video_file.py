"""A video file becomes frames, and frames become a video file, one frame in memory at a time.

`ClipReader` yields Frames upright (rotation metadata applied) with their own timestamps, so variable frame rates keep
their rhythm. `ClipWriter` encodes H.264 with those timestamps and carries the source's audio along: copied where
the container takes the codec, transcoded to AAC where not. Knows nothing of light.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.audio.resampler import AudioResampler
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from numpy.typing import NDArray

from engine.errors import ClipError
from engine.frames import Frame

logger = logging.getLogger(__name__)

MAX_SIDE_PX = 8192
# swscale's fast path darkens a round trip by one level; these flags leave 0.02.
CONVERSION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Sound that every player of MP4 and Matroska knows; the rest (PCM above all) becomes AAC.
COPIED_AUDIO = {"aac", "mp3", "opus", "ac3", "eac3", "alac", "flac"}
HD_HEIGHT_PX = 720  # untagged video at or above is BT.709 by the players' convention, below BT.601


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """Holds what the container says of its first video stream."""

    width: int  # px, upright
    height: int
    fps: Fraction
    frames: int | None  # None where the container does not say
    duration_s: float | None
    rotation_deg: int
    has_audio: bool


class ClipReader:
    """Reads `path`. Raises ClipError where it is no video, has no frame, or is larger than 8192 px a side."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._container = av.open(str(path.absolute()))  # ffmpeg takes "call-12:30.mp4" for a protocol
        except FileNotFoundError:
            raise ClipError(f"{path}: no such file", "check the path") from None
        except (av.FFmpegError, OSError) as error:
            raise ClipError(f"{path}: not a readable video ({error})", "give a file that ffmpeg can play") from None
        if not self._container.streams.video:
            self._container.close()
            raise ClipError(f"{path}: has no video stream", "give a file with a picture")
        self.video = self._container.streams.video[0]
        self.video.thread_type = "AUTO"
        self.audio = self._container.streams.audio[0] if self._container.streams.audio else None
        self._first = self._decode_first()
        rotation = round(self._first.rotation / 90.0) * 90 % 360
        width, height = self._first.width, self._first.height
        if rotation in (90, 270):
            width, height = height, width
        duration = self.video.duration
        self.info = ClipInfo(
            width=width,
            height=height,
            fps=Fraction(self.video.average_rate or self.video.guessed_rate or 30),
            frames=self.video.frames or None,
            duration_s=float(duration * self.video.time_base) if duration and self.video.time_base else None,
            rotation_deg=rotation,
            has_audio=self.audio is not None,
        )
        self._last_s = -1.0 / float(self.info.fps)

    def _decode_first(self) -> av.VideoFrame:
        """The first frame; the container is rewound behind it."""
        context = self.video.codec_context
        if max(context.width, context.height) > MAX_SIDE_PX:
            self._container.close()
            raise ClipError(
                f"{self.path}: {context.width}x{context.height} px is over the limit of {MAX_SIDE_PX} px a side",
                "scale the clip down first",
            )
        try:
            first = next(self._container.decode(self.video), None)
        except av.FFmpegError as error:
            first = None
            logger.debug("first frame of %s: %s", self.path, error)
        if first is None:
            self._container.close()
            raise ClipError(f"{self.path}: has no decodable frame", "the file is empty or damaged")
        self._container.seek(0)
        return first

    def packets(self) -> Iterator[av.Packet]:
        """Demuxed packets of the video and the first audio stream, in file order."""
        streams = [self.video] + ([self.audio] if self.audio is not None else [])
        yield from self._container.demux(streams)

    def decode(self, packet: av.Packet) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Upright RGB frames of one video packet and their rising times in seconds; a damaged packet is skipped."""
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            logger.warning("%s: skipped a damaged packet", self.path)
            return
        for frame in frames:
            assert isinstance(frame, av.VideoFrame)
            t_s = float(frame.time) if frame.time is not None else float("nan")
            # Also where a frame carries no time (NaN) or one that steps back.
            self._last_s = t_s if t_s > self._last_s else self._last_s + 1.0 / float(self.info.fps)
            yield self._rgb(frame), self._last_s

    def _rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        tagged = [space for space in Colorspace if space == frame.colorspace]
        untagged = Colorspace.ITU709 if frame.height >= HD_HEIGHT_PX else Colorspace.ITU601
        source = tagged[0] if tagged else untagged
        decoded = frame.reformat(format="rgb24", src_colorspace=source, interpolation=CONVERSION).to_ndarray()
        rgb: NDArray[np.uint8] = np.ascontiguousarray(np.rot90(decoded, k=self.info.rotation_deg // 90), np.uint8)
        if rgb.shape[:2] != (self.info.height, self.info.width):  # a stream may change size; its output may not
            resized = cv2.resize(rgb, (self.info.width, self.info.height), interpolation=cv2.INTER_AREA)
            rgb = resized.astype(np.uint8, copy=False)
        return rgb

    def frames(self) -> Iterator[Frame]:
        """Every frame of the picture, without the sound."""
        index = 0
        for packet in self._container.demux(self.video):
            for rgb, t_s in self.decode(packet):
                yield Frame(index=index, t_s=t_s, rgb=rgb)
                index += 1

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ClipWriter:
    """Writes H.264 (CRF 18, BT.709) to `path`; takes its clock and its audio from `reader`.

    4:2:0 needs even sides: an odd one is padded by repeating its last line.
    """

    def __init__(self, path: Path, reader: ClipReader, width: int, height: int) -> None:
        self._time_base = reader.video.time_base or Fraction(1, 90_000)
        self._pad = (height % 2, width % 2)
        if not path.parent.is_dir():  # libav would only say so at the first packet
            raise ClipError(f"{path}: the folder {path.parent} does not exist", "make it first")
        try:
            self._container = av.open(
                str(path.absolute()),
                "w",
                options={"movflags": "+faststart"} if path.suffix in (".mp4", ".mov", ".m4v") else {},
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise ClipError(
                f"{path}: cannot be written ({error})",
                "name a file ending in .mp4, .mov or .mkv in a folder that exists",
            ) from None
        if "h264" not in self._container.supported_codecs:
            self._container.close()
            path.unlink(missing_ok=True)
            raise ClipError(
                f"{path}: a {path.suffix} file cannot carry H.264", "name a file ending in .mp4, .mov or .mkv"
            )
        self._video = self._container.add_stream(
            "libx264", rate=reader.info.fps, options={"crf": "18", "preset": "fast"}
        )
        self._video.width, self._video.height = width + self._pad[1], height + self._pad[0]
        self._video.pix_fmt = "yuv420p"
        self._video.codec_context.time_base = self._time_base
        self._video.codec_context.colorspace = Colorspace.ITU709
        self._video.codec_context.color_primaries = ColorPrimaries.BT709
        self._video.codec_context.color_trc = ColorTrc.BT709
        self._video.codec_context.color_range = ColorRange.MPEG
        self._audio: av.AudioStream | None = None
        self._resampler: AudioResampler | None = None
        if reader.audio is not None:
            if reader.audio.codec_context.name in COPIED_AUDIO & self._container.supported_codecs:
                self._audio = self._container.add_stream_from_template(reader.audio)
            else:
                rate = reader.audio.codec_context.sample_rate
                self._audio = self._container.add_stream("aac", rate=rate)
                self._resampler = AudioResampler(format="fltp", layout="stereo", rate=rate)
        self._last_pts = -1

    def write(self, rgb: NDArray[np.uint8], t_s: float) -> None:
        """One frame, shown from `t_s` on."""
        if any(self._pad):
            rgb = np.pad(rgb, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=CONVERSION
        )
        # Two frames may not share a tick: the encoder would refuse the second.
        frame.pts = self._last_pts = max(self._last_pts + 1, round(t_s / self._time_base))
        frame.time_base = self._time_base
        self._container.mux(self._video.encode(frame))

    def write_audio(self, packet: av.Packet) -> None:
        """One packet of the source's audio stream."""
        if self._audio is None:
            return
        if self._resampler is None:
            if packet.dts is not None:
                packet.stream = self._audio
                self._container.mux(packet)
            return
        for frame in packet.decode():
            assert isinstance(frame, av.AudioFrame)
            for piece in self._resampler.resample(frame):
                self._container.mux(self._audio.encode(piece))

    def close(self) -> None:
        """Flush the encoders and finish the file."""
        self._container.mux(self._video.encode(None))
        if self._resampler is not None and self._audio is not None:
            for piece in self._resampler.resample(None):
                self._container.mux(self._audio.encode(piece))
            self._container.mux(self._audio.encode(None))
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()
