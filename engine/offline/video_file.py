"""A video file becomes frames and packets of sound, one frame in memory at a time.

`ClipReader` yields Frames as a viewer should see them (`lcvd.video.picture`) with their own timestamps, so variable
frame rates keep their rhythm. It reads the file once, from its beginning. Knows nothing of light.
"""

import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.container import InputContainer

from engine.errors import ClipError
from engine.fit import letterbox
from engine.frames import Frame
from engine.offline.tracks import choose_tracks
from lcvd.video.display_geometry import MAX_SIDE_PX
from lcvd.video.picture import OFF_DEG, PictureConverter
from lcvd.video.timestamps import RisingStamps

JUMP_S = 1.0  # stamps that fall by more begin anew, as where recordings were joined
RATES = (Fraction(1, 10), Fraction(1000))  # containers that know no rate say 90,000 fps
USUAL_RATE = Fraction(30)
MAX_HELD_BYTES = 256 << 20  # of sound before the first picture


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """Describes the picture and counts the sounds."""

    width: int  # px, as shown: upright, square pixels
    height: int
    fps: Fraction
    frames: int | None  # None where the container does not say
    duration_s: float | None
    sounds: int  # tracks

    @property
    def has_audio(self) -> bool:
        """True where there is a sound track."""
        return self.sounds > 0


class ClipReader:
    """Reads `path`. Raises ClipError where it is no video, has no frame, or is larger than 8192 px a side.

    Times count from the beginning of the clip, which is the first picture or sound. `items` may be iterated once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._container = _open(path)
        try:
            self.video, self.sounds, self._left_out = choose_tracks(self._container, path)
            self.video.thread_type = "AUTO"
            self.origin_s = _origin_s(self.video, *self.sounds)
            self._fps = _rate(self.video)
            self._stamps = RisingStamps(JUMP_S)
            self._converter = PictureConverter(self.video)
            self._size: tuple[int, int] | None = None  # (height, width) of the first frame, and so of all
            self._index = 0
            self._damaged = 0
            self._unkeyed = 0  # packets before the first key frame
            self._keyed = False
            self._broken_off = ""
            self._reshaped = False
            self._refuse_huge(self.video.codec_context.width, self.video.codec_context.height)
            self._source = self._read()
            self._held = deque(self._until_first_frame())
        except BaseException:
            self._container.close()
            raise
        assert self._size is not None
        duration = self.video.duration
        self.info: ClipInfo = ClipInfo(
            width=self._size[1],
            height=self._size[0],
            fps=self._fps,
            frames=self.video.frames or None,
            duration_s=float(duration * self.video.time_base) if duration and self.video.time_base else None,
            sounds=len(self.sounds),
        )

    def items(self) -> Iterator[Frame | av.Packet]:
        """Yield every frame of the picture and every packet of sound, in file order."""
        while self._held:
            yield self._held.popleft()
        yield from self._source

    def frames(self) -> Iterator[Frame]:
        """Yield every frame of the picture, without the sound."""
        return (item for item in self.items() if isinstance(item, Frame))

    def notes(self) -> list[str]:
        """Tell what was left out or mended, one sentence each; complete after the last item."""
        told = []
        if self._left_out:
            told.append(f"left out: {self._left_out}")
        if self._damaged:
            told.append(f"skipped {self._damaged} damaged packet{'s' * (self._damaged > 1)} of the picture")
        if self._unkeyed:
            pictures = "picture" if self._unkeyed == 1 else "pictures"
            told.append(f"{self._unkeyed} {pictures} before the first key frame cannot be decoded")
        if self._broken_off:
            told.append(f"the file breaks off: {self._broken_off}")
        if self._reshaped:
            told.append("the picture changes its shape: fitted into the first one, with bars")
        if self._converter.tone_maps:
            told.append("high dynamic range was tone-mapped to BT.709")
        if self._converter.off_deg > OFF_DEG:
            told.append(f"the file asks for a turn {self._converter.off_deg:.0f}° off a quarter: the nearest is shown")
        return told

    def _until_first_frame(self) -> Iterator[Frame | av.Packet]:
        """Yield items up to the first frame. Raises ClipError where there is none."""
        held = 0
        for item in self._source:
            yield item
            if isinstance(item, Frame):
                return
            held += item.size
            if held > MAX_HELD_BYTES:
                raise ClipError(
                    f"{self.path}: its first {held >> 20} MiB of sound come without a picture",
                    "cut the clip to where its picture begins",
                )
        raise ClipError(f"{self.path}: has no decodable frame", "the file is empty or damaged")

    def _read(self) -> Iterator[Frame | av.Packet]:
        packets = self._container.demux([self.video, *self.sounds])
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as error:
                self._broken_off = error.strerror or str(error)
                yield from self._decoded(None)
                return
            if packet.stream.index != self.video.index:
                yield packet
                continue
            self._keyed |= packet.is_keyframe
            self._unkeyed += not self._keyed and packet.size > 0
            yield from self._decoded(packet)

    def _decoded(self, packet: av.Packet | None) -> Iterator[Frame]:
        """Yield the frames of one packet of video, or those that the decoder holds back; damage is counted."""
        try:
            decoded = self.video.decode(packet)
        except av.FFmpegError:
            self._damaged += 1
            return
        for frame in decoded:
            assert isinstance(frame, av.VideoFrame)
            self._refuse_huge(frame.width, frame.height)
            try:
                rgb = self._converter(frame)
            except (av.FFmpegError, ValueError):
                self._damaged += 1
                continue
            t_s = None if frame.time is None else max(float(frame.time) - self.origin_s, 0.0)
            if not self._keyed:  # a stream that refreshes piece by piece has no key frame, and shows its pictures
                self._keyed, self._unkeyed = True, 0
            self._size = self._size or (rgb.shape[0], rgb.shape[1])
            self._reshaped |= rgb.shape[:2] != self._size
            yield Frame(self._index, self._stamps(t_s, 1.0 / float(self._fps)), letterbox(rgb, self._size))
            self._index += 1

    def _refuse_huge(self, width: int, height: int) -> None:
        if max(width, height) > MAX_SIDE_PX:
            raise ClipError(
                f"{self.path}: {width}x{height} px is over the limit of {MAX_SIDE_PX} px a side",
                "scale the clip down first",
            )

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(path: Path) -> InputContainer:
    """Open a regular file: a pipe would hang where nobody writes, and LCVD reads a clip more than once."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if str(path) == "-":
            raise ClipError("-: standard input is not read", "save the clip to a file and name that") from None
        raise ClipError(f"{path}: no such file", "check the path") from None
    except (OSError, ValueError) as error:
        raise ClipError(f"{path}: cannot be read ({_reason(error)})", "check the path") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"
        raise ClipError(f"{path}: is {kind}, not a file", "save the clip to a file and name that")
    try:
        return av.open(str(path.absolute()))  # ffmpeg takes "call-12:30.mp4" for a protocol
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ClipError(
            f"{path}: not a readable video ({_reason(error)})", "give a file that ffmpeg can play"
        ) from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _origin_s(*streams: av.VideoStream | av.AudioStream) -> float:
    starts = [float(s.start_time * s.time_base) for s in streams if s.start_time is not None and s.time_base]
    return min(starts, default=0.0)


def _rate(video: av.VideoStream) -> Fraction:
    for rate in (video.average_rate, video.guessed_rate):
        if rate and RATES[0] <= rate <= RATES[1]:
            return Fraction(rate)
    return USUAL_RATE
