"""Where pictures go: a virtual camera, a y4m stream, or a Matroska file.

`make_sink` checks the target before any camera is opened; `open` is called with the size of the pictures.
"""

import errno
import os
import select
import stat
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.camera import y4m
from server.camera.recording import Recording
from server.camera.remedies import PIP, RELOAD, get_virtual_camera, this_system
from server.errors import CameraError

Rgb = NDArray[np.uint8]
SUFFIX = ".mkv"
GRACE_S = 0.5  # a reader that does not read gets this long after the end was asked for
FULL_HINT = "free some space; what was written so far can be played"


class ReaderGone(Exception):
    """Nobody reads any more: the end, and no error."""


class Sink(ABC):
    """Takes pictures of one even size. `constant_rate`: one for each place of the rate; else each with its time."""

    constant_rate = True
    live_before_camera = False  # it is opened first: others must find it before they can look
    device: str | None = None  # of a virtual camera, whose readers can perhaps be counted

    @abstractmethod
    def open(self, width: int, height: int, fps: Fraction) -> None:
        """Begins the output. Raises CameraError."""

    @abstractmethod
    def write(self, rgb: Rgb, t_s: float) -> None:
        """Writes uint8 [height,width,3], shown from `t_s` after the first on. Raises ReaderGone, CameraError."""

    @abstractmethod
    def close(self) -> None:
        """Ends the output; also one that was never opened."""


def make_sink(target: str, overwrite: bool, stop: threading.Event, clip: str = "") -> Sink:
    """Returns the sink that `--to` names, checked as far as it can be without a picture; it is not `clip`, if any.

    Raises CameraError; ReaderGone where the end was asked for while a named pipe waited for its reader.
    """
    if clip and _is_same(Path(target.removeprefix("y4m:")), Path(clip)) and overwrite:
        raise CameraError(f"to={target!r} is the clip itself", "name another file")
    if target.startswith("y4m:"):
        name = target.removeprefix("y4m:")
        if name == "-":
            return Y4mSink(_take_stdout(), stop)
        path = _writable(Path(name), overwrite or _is_pipe(Path(name)))
        return Y4mSink(_open_for_writing(path, stop), stop)
    if target == "camera" or target.startswith("/dev/"):
        return VirtualCameraSink(None if target == "camera" else target)
    path = Path(target)
    if path.suffix.lower() != SUFFIX:
        hint = f"camera, /dev/videoN, y4m:-, y4m:FILE or FILE{SUFFIX}; ffmpeg -i a.mkv -c copy a.mp4 makes an MP4 of it"
        raise CameraError(f"to={target!r} is no output", hint)
    return FileSink(_writable(path, overwrite))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one does not exist
        return False


def _is_pipe(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _writable(path: Path, overwrite: bool) -> Path:
    """Returns `path` where a file can be made there. Raises CameraError."""
    if path.is_dir():
        raise CameraError(f"to: {path} is a folder", "name a file in it")
    if not path.parent.is_dir():
        raise CameraError(f"to: {path}: the folder {path.parent} does not exist", "make it first")
    if path.exists() and not overwrite:
        raise CameraError(f"to: {path}: exists already", "add --overwrite, or name another file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CameraError(f"to: {path} cannot be written by this user", "name a file in another folder")
    return path


def _take_stdout() -> int:
    """Returns the descriptor of standard output; whatever else prints there goes to standard error from now on."""
    if sys.stdout.isatty():
        raise CameraError("to=y4m:- would print pictures on the terminal", "relight camera --to y4m:- | ffplay -i -")
    sys.stdout.flush()
    taken = os.dup(1)
    os.dup2(2, 1)
    if os.name == "nt":
        import msvcrt

        msvcrt.setmode(taken, os.O_BINARY)  # type: ignore[attr-defined,unused-ignore]
    return taken


def _open_for_writing(path: Path, stop: threading.Event) -> int:
    """Returns a descriptor of `path`; of a named pipe once somebody reads it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    while True:
        try:
            return os.open(path, flags, 0o666)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise CameraError(f"to: {path} cannot be written: {error.strerror}", "name another file") from None
        if stop.wait(0.1):
            raise ReaderGone


class Y4mSink(Sink):
    """Writes y4m to a descriptor; a pipe holds 64 KiB, so no picture waits behind another."""

    def __init__(self, descriptor: int, stop: threading.Event) -> None:
        self._fd, self._stop = descriptor, stop
        self._file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._polled = os.name == "posix" and not self._file
        if self._polled:  # so that a reader that stands still cannot keep SIGTERM waiting
            self._blocking = os.get_blocking(descriptor)
            os.set_blocking(descriptor, False)

    def open(self, width: int, height: int, fps: Fraction) -> None:
        self._put(y4m.header(width, height, fps))

    def write(self, rgb: Rgb, t_s: float) -> None:
        self._put(y4m.FRAME + y4m.planes(rgb))

    def _put(self, data: bytes) -> None:
        left, grace = memoryview(data), round(GRACE_S / 0.1)
        while left:
            if self._polled and not select.select([], [self._fd], [], 0.1)[1]:
                if self._stop.is_set() and (grace := grace - 1) <= 0:
                    raise ReaderGone
                continue
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise ReaderGone from None
            except OSError as error:
                if error.errno == errno.EINVAL and os.name == "nt":  # Windows' word for a broken pipe
                    raise ReaderGone from None
                raise CameraError(f"the y4m stream cannot be written: {error.strerror}", FULL_HINT) from None

    def close(self) -> None:
        if self._fd >= 0:
            if self._polled:
                os.set_blocking(self._fd, self._blocking)  # the next program in a shell's list may share it
            os.close(self._fd)
            self._fd = -1


class FileSink(Sink):
    """Records with each picture's own time."""

    constant_rate = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._recording: Recording | None = None

    def open(self, width: int, height: int, fps: Fraction) -> None:
        with self._told():
            self._recording = Recording(self._path, width, height, fps)

    def write(self, rgb: Rgb, t_s: float) -> None:
        assert self._recording is not None
        with self._told():
            self._recording.write(rgb, t_s)

    def close(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            with self._told():
                recording.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # libav's errors are OSErrors or ValueErrors
            reason = getattr(error, "strerror", None) or str(error)
            raise CameraError(f"to: {self._path} cannot be written: {reason}", FULL_HINT) from None


class VirtualCameraSink(Sink):
    """Sends to a virtual camera by pyvirtualcam: v4l2loopback on Linux, OBS's on macOS and Windows."""

    live_before_camera = True

    def __init__(self, device: str | None) -> None:
        self._module = _pyvirtualcam()
        self._wanted = device
        self._camera: Any = None

    def open(self, width: int, height: int, fps: Fraction) -> None:
        if self._camera is not None:  # before the warm-up, so that what is wrong is told at once
            return
        try:
            self._camera = self._module.Camera(width, height, float(fps), device=self._wanted)
        except (RuntimeError, ValueError, OSError) as error:  # one line for each backend it tried
            raise _no_virtual_camera(str(error), self._wanted) from None
        self.device = self._camera.device

    def write(self, rgb: Rgb, t_s: float) -> None:
        try:
            self._camera.send(np.ascontiguousarray(rgb))
        except (RuntimeError, OSError) as error:
            raise CameraError(f"the virtual camera {self.device} is gone: {error}", get_virtual_camera()) from None

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()


def _pyvirtualcam() -> Any:
    try:
        import pyvirtualcam
    except ImportError as error:
        raise CameraError(
            f"a virtual camera needs pyvirtualcam ({error})",
            f"{PIP}; without one: relight camera --to y4m:- | ffplay -i -",
        ) from None
    return pyvirtualcam


def _no_virtual_camera(said: str, device: str | None) -> CameraError:
    """Returns the error for what pyvirtualcam said."""
    reason = " ".join(said.replace("'v4l2loopback' backend: ", "").split())
    if "permission" in reason:
        return CameraError(
            f"the virtual camera may not be opened: {reason}", "sudo usermod -aG video $USER, then log in anew"
        )
    if "in use" in reason or "busy" in reason.lower():
        return CameraError(
            f"the virtual camera is in use by another program: {reason}", "close OBS or the other relight"
        )
    if this_system() not in ("macos", "windows") and Path("/sys/module/v4l2loopback").exists():
        hint = f"relight doctor lists its devices; or load it anew: {RELOAD}"
        return CameraError(f"no virtual camera can be used: {reason}", hint)
    return CameraError("no virtual camera is installed here" if device is None else reason, get_virtual_camera())
