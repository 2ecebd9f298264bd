"""A V4L2 device without a kernel: answers the ioctls of linux/videodev2.h from a description."""

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

Modes = dict[str, dict[tuple[int, int], list[tuple[int, int]]]]  # fourcc → size → intervals as (num, den)


class FakeDevice:
    """One device; `readers` None: a v4l2loopback that does not tell."""

    def __init__(
        self, driver: str, card: str, caps: int, modes: Modes | None = None, readers: int | None = None
    ) -> None:
        self.driver, self.card, self.caps, self.modes, self.readers = driver, card, caps, modes or {}, readers

    def ioctl(self, number: int, buffer: bytearray) -> None:
        """Answers one call in `buffer`, or raises OSError as the kernel does."""
        code, size = number & 0xFF, number >> 16 & 0x3FFF
        assert size == len(buffer)
        answers: dict[int, Callable[[bytearray], None]] = {
            0: self._capability, 2: self._format, 74: self._size, 75: self._interval,
            90: self._subscribe, 89: self._event,
        }  # fmt: skip
        answers[code](buffer)

    def _capability(self, buffer: bytearray) -> None:
        struct.pack_into("16s32s32sIII", buffer, 0, self.driver.encode(), self.card.encode(), b"usb", 0x60000,
                         0x80000000 | 0x04A00003, self.caps)  # fmt: skip

    def _format(self, buffer: bytearray) -> None:
        index, kind = struct.unpack_from("II", buffer)
        assert kind == 1
        buffer[44:48] = _at(list(self.modes), index).encode()

    def _size(self, buffer: bytearray) -> None:
        index = struct.unpack_from("I", buffer)[0]
        width, height = _at(list(self.modes[buffer[4:8].decode()]), index)
        struct.pack_into("III", buffer, 8, 1, width, height)

    def _interval(self, buffer: bytearray) -> None:
        index, width, height = struct.unpack_from("I4xII", buffer)
        numerator, denominator = _at(self.modes[buffer[4:8].decode()][width, height], index)
        struct.pack_into("III", buffer, 16, 1, numerator, denominator)

    def _subscribe(self, buffer: bytearray) -> None:
        kind, _, flags = struct.unpack_from("III", buffer)
        if self.readers is None:
            raise OSError(errno.EINVAL, "Invalid argument")
        assert (kind, flags) == (0x10E00001, 1)

    def _event(self, buffer: bytearray) -> None:
        struct.pack_into("I", buffer, 0, 0x10E00001)
        struct.pack_into("I", buffer, 8, self.readers)


def _at(entries: list, index: int):
    if index >= len(entries):
        raise OSError(errno.EINVAL, "Invalid argument")
    return entries[index]


def plug_in(monkeypatch: pytest.MonkeyPatch, folder: Path, devices: dict[int, FakeDevice]) -> None:
    """Puts `devices` in place of the machine's own, each as a file of `folder`."""
    paths = {str(folder / f"video{number}"): device for number, device in devices.items()}
    for path in paths:
        Path(path).touch()

    def ioctl(descriptor: int, number: int, buffer: bytearray, mutate: bool) -> None:
        paths[os.readlink(f"/proc/self/fd/{descriptor}")].ioctl(number, buffer)

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    nodes = [(number, str(folder / f"video{number}")) for number in devices]
    for module in ("devices", "inspection"):
        monkeypatch.setattr(f"server.camera.{module}.video_nodes", lambda: nodes)
    monkeypatch.setattr("platform.system", lambda: "Linux")
