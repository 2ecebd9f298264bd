"""Video4Linux2 by ioctl: the name and the modes of a device, and whether somebody reads a v4l2loopback device.

Numbers and layouts are those of linux/videodev2.h, and of v4l2loopback.h for its event. Opening a device starts no
camera and lights no lamp. Linux only: nothing here is called elsewhere.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

LOOPBACK = "v4l2 loopback"  # the driver's name
CAPTURE, OUTPUT, META, DEVICE_CAPS = 0x1, 0x2, 0x00800000, 0x80000000  # V4L2_CAP_*
BUF_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
DISCRETE = 1  # of frame sizes and intervals
USAGE = 0x08000000 + 0x08E00000 + 1  # V4L2_EVENT_PRI_CLIENT_USAGE, v4l2loopback 0.13 and newer
SEND_INITIAL = 1  # V4L2_EVENT_SUB_FL_SEND_INITIAL
EVENT_BYTES, EVENT_COUNT_AT = 136, 8  # struct v4l2_event on 64 bit
MAX_MODES = 64  # of one kind; a driver that never says "no more" is left there


def _ioctl_number(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP = _ioctl_number(2, 0, 104)
ENUM_FMT = _ioctl_number(3, 2, 64)
ENUM_FRAMESIZES = _ioctl_number(3, 74, 44)
ENUM_FRAMEINTERVALS = _ioctl_number(3, 75, 52)
SUBSCRIBE_EVENT = _ioctl_number(1, 90, 32)
DQEVENT = _ioctl_number(2, 89, EVENT_BYTES)


@dataclass(frozen=True, slots=True)
class Capability:
    """A device by its own words."""

    driver: str
    card: str  # the name for people
    captures: bool  # pictures can be read
    outputs: bool  # pictures can be written

    @property
    def loopback(self) -> bool:
        return self.driver == LOOPBACK


@dataclass(frozen=True, slots=True)
class Mode:
    """One size that a camera has in one format, with its rates, the highest first."""

    fourcc: str
    width: int
    height: int
    fps: tuple[float, ...]


class Device:
    """An open device. Raises OSError as the system calls do."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def _ask(self, number: int, data: bytes, size: int) -> bytes:
        import fcntl

        buffer = bytearray(data.ljust(size, b"\0"))
        fcntl.ioctl(self._fd, number, buffer, True)
        return bytes(buffer)

    def capability(self) -> Capability:
        """Asks the device who it is."""
        driver, card, _, _, all_caps, own_caps = struct.unpack_from("16s32s32sIII", self._ask(QUERYCAP, b"", 104))
        caps = own_caps if all_caps & DEVICE_CAPS else all_caps
        return Capability(_text(driver), _text(card), bool(caps & CAPTURE) and not caps & META, bool(caps & OUTPUT))

    def modes(self) -> list[Mode]:
        """Lists the sizes with fixed rates that the camera offers; empty where it offers ranges only."""
        found = []
        for entry in self._list(ENUM_FMT, struct.pack("I", BUF_CAPTURE), 64):
            fourcc = entry[44:48]
            for size in self._list(ENUM_FRAMESIZES, fourcc, 44):
                kind, width, height = struct.unpack_from("III", size, 8)
                if kind == DISCRETE:
                    rates = tuple(self._rates(fourcc + struct.pack("II", width, height)))
                    found.append(Mode(_text(fourcc), width, height, tuple(sorted(rates, reverse=True))))
        return found

    def _rates(self, which: bytes) -> Iterator[float]:
        for entry in self._list(ENUM_FRAMEINTERVALS, which, 52):
            kind, numerator, denominator = struct.unpack_from("III", entry, 16)
            if kind == DISCRETE and numerator:
                yield round(denominator / numerator, 2)

    def _list(self, number: int, which: bytes, size: int) -> Iterator[bytes]:
        """Yields the entries of an enumeration; `which` follows the index in the request."""
        for index in range(MAX_MODES):
            try:
                yield self._ask(number, struct.pack("I", index) + which, size)
            except OSError:  # EINVAL ends the list; a driver without the call says ENOTTY
                return

    def readers(self) -> int | None:
        """Asks a v4l2loopback device for its readers now: 0 or more, None where its version does not tell.

        The event is sent at once on subscribing: each call on a fresh `Device` gets the state, not a change of it.
        """
        try:
            self._ask(SUBSCRIBE_EVENT, struct.pack("III", USAGE, 0, SEND_INITIAL), 32)
            event = self._ask(DQEVENT, b"", EVENT_BYTES)
        except OSError:
            return None
        kind, count = struct.unpack_from("I", event)[0], struct.unpack_from("I", event, EVENT_COUNT_AT)[0]
        return int(count) if kind == USAGE else None


def readers_by_process(path: str) -> int:
    """Counts the other processes of this user that have the device open, by /proc: for v4l2loopback before 0.13."""
    wanted = os.stat(path).st_rdev
    found = 0
    for folder in Path("/proc").glob("[0-9]*/fd"):
        if folder.parent.name == str(os.getpid()):
            continue
        try:
            found += any(_is_device(each, wanted) for each in folder.iterdir())
        except OSError:  # another user's, or gone meanwhile
            continue
    return found


def _is_device(descriptor: Path, number: int) -> bool:
    try:
        return os.readlink(descriptor).startswith("/dev/video") and os.stat(descriptor).st_rdev == number
    except OSError:
        return False


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace").strip()
