"""Where pictures come from: a camera by FFmpeg's input devices, or a clip in place of one, looped and paced.

PyAV and not OpenCV, whose headless wheel names no cameras, ignores a mode that is refused, and answers "not opened" for
missing, busy and forbidden alike; PyAV gives system errors, formats and the kernel's capture stamps.
"""

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from engine.fit import letterbox
from engine.offline.video_file import ClipReader
from server.camera.devices import CameraInfo, explain
from server.camera.rate import CaptureClock
from server.camera.v4l2 import Mode
from server.errors import CameraError

Rgb = NDArray[np.uint8]
Size = tuple[int, int]  # width, height
DEFAULT_SIZE, DEFAULT_FPS = (640, 480), Fraction(30)
RAW = ("YUYV", "NV12", "YU12", "UYVY")  # fourcc of formats that cost no decoding
FFMPEG_FORMAT = {"YUYV": "yuyv422", "NV12": "nv12", "YU12": "yuv420p", "UYVY": "uyvy422", "MJPG": "mjpeg"}
LATE_S = 0.5  # a clip that decodes slower than it plays is not caught up with


class Source(Protocol):
    """Gives pictures in real time until it is closed. `fps` is what it says of itself."""

    fps: Fraction

    def frames(self) -> Iterator[tuple[Rgb, float]]:
        """Yields uint8 [H,W,3] and the monotonic time of capture. Raises CameraError."""

    def close(self) -> None: ...


def tidy_rate(fps: Fraction) -> Fraction:
    """Returns the rate that `fps` means: containers and drivers give means such as 25.17 and 30.00003.

    One of NTSC's (30000/1001) within 0.01 %, else a whole rate within 1 %, else `fps` itself.
    """
    ntsc = Fraction(max(1, round(fps * 1001 / 1000)) * 1000, 1001)
    if abs(ntsc - fps) < fps / 10_000:
        return ntsc
    whole = Fraction(max(1, round(fps)))
    return whole if abs(whole - fps) <= fps / 100 else fps.limit_denominator(1001)


def best_mode(modes: tuple[Mode, ...], size: Size, fps: float) -> Mode | None:
    """Returns the mode of exactly `size` that reaches `fps`: a raw one first, then Motion JPEG; None: there is none.

    At 720p most USB cameras give 10 fps raw and 30 fps as Motion JPEG.
    """
    fitting = [mode for mode in modes if (mode.width, mode.height) == size and mode.fourcc in FFMPEG_FORMAT]
    quick = [mode for mode in fitting if mode.fps and mode.fps[0] >= fps - 0.5]
    quickest = max((mode.fps[0] for mode in fitting if mode.fps), default=0.0)
    best = quick or [mode for mode in fitting if mode.fps and mode.fps[0] == quickest]
    return min(best, key=lambda mode: (mode.fourcc not in RAW, mode.fourcc), default=None)


class CameraSource:
    """An open camera. Raises CameraError where it cannot be opened, with the remedy."""

    def __init__(
        self, camera: CameraInfo, size: Size | None, fps: Fraction | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._camera, self._clock = camera, clock
        self._stamps = CaptureClock()
        width, height = size or DEFAULT_SIZE
        rate = fps or DEFAULT_FPS
        options = {"video_size": f"{width}x{height}", "framerate": str(rate)}
        mode = best_mode(camera.modes, (width, height), float(rate))
        if mode is not None:
            options["input_format"] = FFMPEG_FORMAT[mode.fourcc]
            options["framerate"] = str(min(rate, Fraction(mode.fps[0]).limit_denominator(1001)))
        elif size is not None and camera.modes:
            sizes = sorted({(each.width, each.height) for each in camera.modes})
            raise CameraError(
                f"size={width}x{height}: camera {camera.name!r} does not have it",
                "choose one of " + ", ".join(f"{w}x{h}" for w, h in sizes),
            )
        self._container = self._open(options)
        self._video = self._container.streams.video[0]
        self._video.thread_type = "SLICE"  # threads by frames would hold some back
        self.fps = tidy_rate(Fraction(self._video.average_rate or self._video.guessed_rate or rate))

    def _open(self, options: dict[str, str]) -> "av.container.InputContainer":
        # Nothing to look for in a stream of known format: 32 bytes of it are the least FFmpeg takes.
        quick = {"probesize": "32", "analyzeduration": "0", "fflags": "nobuffer"}
        try:
            return av.open(self._camera.address, format=self._camera.format, options={**options, **quick})
        except (av.FFmpegError, OSError, ValueError) as error:
            raise explain(error, self._camera) from None

    def frames(self) -> Iterator[tuple[Rgb, float]]:
        try:
            for frame in self._container.decode(self._video):
                now_s = self._clock()
                rgb = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                yield rgb, self._stamps.at(frame.time, now_s)
        except (av.FFmpegError, OSError) as error:
            raise explain(error, self._camera) from None
        raise CameraError(f"camera {self._camera.name!r} stopped", "plug it in again")

    def close(self) -> None:
        self._container.close()


class ClipSource:
    """A clip as a camera: played in real time, again and again, until `stop` is set. Raises ClipError.

    `size` None is the clip's own; another is filled by letterboxing.
    """

    def __init__(
        self, path: Path, size: Size | None, stop: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        with ClipReader(path) as reader:
            self.fps = tidy_rate(reader.info.fps)
        self._path, self._size, self._stop, self._clock = path, size, stop, clock

    def frames(self) -> Iterator[tuple[Rgb, float]]:
        start_s = self._clock()
        while not self._stop.is_set():
            last_s = 0.0
            with ClipReader(self._path) as reader:
                for frame in reader.frames():
                    last_s = frame.t_s
                    wait_s = start_s + frame.t_s - self._clock()
                    if wait_s < -LATE_S:
                        start_s -= wait_s
                    if self._stop.wait(max(0.0, wait_s)):
                        return
                    rgb = frame.rgb if self._size is None else letterbox(frame.rgb, self._size[::-1])
                    yield rgb, start_s + frame.t_s
            start_s += last_s + float(1 / self.fps)

    def close(self) -> None:
        pass
