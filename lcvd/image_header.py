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
    width: int
    height: int
    channels: int
    body: int


def read_header(data: bytes, label: str = "the file") -> Header:
    """Read the header of an image file. Raises ImageError for another kind of file or a broken header."""
    try:
        if data.startswith((b"#?RADIANCE", b"#?RGBE")):
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


def is_complete(data: bytes, header: Header) -> bool:
    """Return False when a JPEG or PNG lacks its end mark (decoders paint the missing part grey without an error).

    Entropy-coded JPEG data cannot contain FF D9, and a thumbnail's comes before the frame header.
    """
    if header.kind == "jpeg":
        return data.find(b"\xff\xd9", header.body) >= 0
    if header.kind == "png":
        return data.find(b"IEND", header.body) >= 0
    return True


def _hdr(data: bytes) -> Header:
    match = re.search(rb"\n([-+][XY]) +(\d{1,9}) +([-+][XY]) +(\d{1,9})[ \r]*\n", data[:65536])
    if match is None:
        raise ValueError("no resolution line")
    first, rows, second, columns = match.groups()
    if first != b"-Y" or second != b"+X":
        raise ValueError("only the standard orientation -Y +X is read")
    return Header("hdr", int(columns), int(rows), 3, match.end())


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    width, height = struct.unpack(">II", data[16:24])
    return Header("png", width, height, 4, 33)


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
            return Header("jpeg", width, height, data[at + 9], at + 2 + size)
        at += 2 + size


def _exr(data: bytes) -> Header:
    """Attributes are name\\0 type\\0 int32 size, value; an empty name ends them (OpenEXR file layout, openexr.com)."""
    if data[5] & 0x18:
        raise ValueError("deep and multi-part files are not read")
    at, size_px, channels = 8, None, 0
    while data[at] != 0:
        name_end = data.index(b"\0", at, at + 256)
        type_end = data.index(b"\0", name_end + 1, name_end + 257)
        (size,) = struct.unpack_from("<i", data, type_end + 1)
        if size < 0:
            raise ValueError("negative attribute size")
        value = type_end + 5
        if data[at:name_end] == b"dataWindow":
            x0, y0, x1, y1 = struct.unpack_from("<4i", data, value)
            size_px = x1 - x0 + 1, y1 - y0 + 1
        elif data[at:name_end] == b"channels":
            entry = value
            while data[entry] != 0:  # name\\0 and 16 bytes of type and sampling
                entry = data.index(b"\0", entry, entry + 256) + 17
                channels += 1
        at = value + size
    if size_px is None or channels == 0:
        raise ValueError("no dataWindow or no channels")
    return Header("exr", *size_px, channels, at)
