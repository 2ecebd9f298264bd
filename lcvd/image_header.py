"""Reads the kind and size that an uploaded picture claims from its first bytes, before anything is decoded.

Radiance .hdr, OpenEXR, JPEG, PNG. It allocates no more than the bytes it was given, so the claimed size of a
decompression bomb is known before any decoder runs. The caller compares the size with its limits.
"""

import re
import struct
from typing import Literal, NamedTuple

from lcvd.errors import ImageError

Kind = Literal["hdr", "exr", "jpeg", "png"]


class Header(NamedTuple):
    """Kind and size a file claims; `body` is where its pixel data may begin at the earliest."""

    kind: Kind
    width: int  # of the picture shown: an OpenEXR file may store more or less of it
    height: int
    channels: int
    body: int
    values: int  # that are stored, all channels and parts together


class Scanlines(NamedTuple):
    """The resolution line of a Radiance file: so many scanlines of so many pixels, and which way each axis runs."""

    lines: int
    pixels: int
    line_axis: bytes  # b"-Y" (top to bottom) as a rule; of +Y, -X and +X too
    pixel_axis: bytes
    body: int


def read_header(data: bytes, label: str = "the file") -> Header:
    """Read the header of an image file. Raises ImageError for another kind of file or a broken header."""
    try:
        if data.startswith(b"#?"):
            return _hdr(data)
        if data.startswith(b"v/1\x01"):
            return _exr(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
    except (ValueError, IndexError, struct.error) as error:
        raise ImageError(f"{label} has a broken header ({error})", "the file may be cut off; export it again") from None
    raise ImageError(f"{label} is not a picture this server can read", "give a .hdr, .exr, .jpg or .png file")


def is_panorama(width: int, height: int) -> bool:
    """Return True for a size about twice as wide as high, as equirectangular pictures are."""
    return height > 0 and 1.8 <= width / height <= 2.2


def is_complete(data: bytes, header: Header) -> bool:
    """Return False when a JPEG or PNG lacks its end mark (decoders paint the missing part grey without an error).

    Entropy-coded JPEG data cannot contain FF D9, and a thumbnail's comes before the frame header.
    """
    if header.kind == "jpeg":
        return data.find(b"\xff\xd9", header.body) >= 0
    if header.kind == "png":
        return data.find(b"IEND", header.body) >= 0
    return True


def radiance_scanlines(data: bytes) -> Scanlines:
    """Read the resolution line that ends a Radiance header (Radiance file formats). Raises ValueError without one."""
    match = re.search(rb"\n([-+][XY]) +(\d{1,9}) +([-+][XY]) +(\d{1,9})[ \r]*\n", data[:65536])
    if match is None:
        raise ValueError("no resolution line")
    first, lines, second, pixels = match.groups()
    if first[1] == second[1]:
        raise ValueError(f"two sizes along one axis: {first.decode()} and {second.decode()}")
    return Scanlines(int(lines), int(pixels), first, second, match.end())


def _hdr(data: bytes) -> Header:
    scan = radiance_scanlines(data)
    size = (scan.lines, scan.pixels) if scan.line_axis.endswith(b"X") else (scan.pixels, scan.lines)
    return Header("hdr", *size, 3, scan.body, 3 * scan.lines * scan.pixels)


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    width, height = struct.unpack(">II", data[16:24])
    return Header("png", width, height, 4, 33, 4 * width * height)


def _jpeg(data: bytes) -> Header:
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            raise ValueError("broken segment")
        marker = data[at + 1]
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # no length field
            at += 2
            continue
        if marker in (0xD9, 0xDA):
            raise ValueError("no frame header")
        (size,) = struct.unpack_from(">H", data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Header("jpeg", width, height, data[at + 9], at + 2 + size, data[at + 9] * width * height)
        at += 2 + size


class _Part(NamedTuple):
    """One header of an OpenEXR file; windows as width and height."""

    display: tuple[int, int]
    stored: tuple[int, int]
    channels: int
    end: int

    @property
    def shown(self) -> tuple[int, int]:
        """The display window, or the data window where a writer left the other as it was before a crop."""
        return self.display if is_panorama(*self.display) else self.stored


def _exr(data: bytes) -> Header:
    """One header, or several and an empty one (multi-part, OpenEXR file layout, openexr.com)."""
    if data[5] & 0x08:
        raise ValueError("deep pixels are not read; flatten the picture")
    parts: list[_Part] = []
    at = 8
    while not parts or (data[5] & 0x10 and data[at] != 0):
        parts.append(_exr_part(data, at))
        at = parts[-1].end
    channels = sum(part.channels for part in parts)
    if channels == 0:
        raise ValueError("no channels")
    # What is decoded: the stored pixels, laid on the picture that is shown.
    values = sum(part.channels * max(w * h for w, h in (part.stored, part.shown)) for part in parts)
    return Header("exr", *parts[0].shown, channels, at, values)


def _exr_part(data: bytes, at: int) -> _Part:
    """Attributes are name\\0 type\\0 int32 size, value; an empty name ends them."""
    windows: dict[bytes, tuple[int, int]] = {}
    channels = 0
    while data[at] != 0:
        name_end = data.index(b"\0", at, at + 256)
        type_end = data.index(b"\0", name_end + 1, name_end + 257)
        (size,) = struct.unpack_from("<i", data, type_end + 1)
        if size < 0:
            raise ValueError("negative attribute size")
        value, name = type_end + 5, data[at:name_end]
        if name in (b"dataWindow", b"displayWindow"):
            x0, y0, x1, y1 = struct.unpack_from("<4i", data, value)
            windows[name] = x1 - x0 + 1, y1 - y0 + 1
        elif name == b"channels":
            entry = value
            while data[entry] != 0:  # name\\0 and 16 bytes of type and sampling
                entry = data.index(b"\0", entry, entry + 256) + 17
                channels += 1
        at = value + size
    if len(windows) < 2 or min(side for size in windows.values() for side in size) < 1:
        raise ValueError("no data window, or an empty one")
    return _Part(windows[b"displayWindow"], windows[b"dataWindow"], channels, at + 1)
