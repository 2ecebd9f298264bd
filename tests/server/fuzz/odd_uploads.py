"""odd_upload draws a file and the form that carries it: pictures of every kind, whole, odd and damaged."""

import io
import random
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from tests.server.fuzz.damage import damaged

PORTRAIT = Path(__file__).resolve().parents[3] / "client_web" / "sample" / "portrait.jpg"
NAMES = (
    "me.jpg", "room.hdr", "room.exr", "a.png", "a.webp", "", " ", ".", "..", "../../etc/passwd", "C:\\x\\y.png",
    "a" * 300 + ".png", "ü 写真 😀.jpg", "a\u202egnp.exe", "no_extension", "x.svg", "x.pdf", "x.hdr.png",
    "[b]o[/b].jpg",
    "%s%n.jpg", "a;b=c.jpg",
)  # fmt: skip
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I", "F", "YCbCr")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA", "ICO", "AVIF")


class Upload(NamedTuple):
    """One request's body."""

    body: bytes
    content_type: str
    story: str  # how it was made


@cache
def face() -> np.ndarray:
    """Returns the sample portrait, RGB [240,H,3]."""
    rgb = cv2.imread(str(PORTRAIT), cv2.IMREAD_COLOR)[..., ::-1]
    return np.ascontiguousarray(cv2.resize(rgb, (round(240 * rgb.shape[1] / rgb.shape[0]), 240)))


def odd_upload(rng: random.Random, session: str | None) -> Upload:
    """Draws an upload; `session` is the name that a portrait's form carries, None for a light's."""
    data, story = _file(rng)
    if rng.random() < 0.55:
        data, story = damaged(rng, data), story + ", damaged"
    name = rng.choice(NAMES)
    return _form(rng, data, name, session, f"{story}, as {name[:20]!r}")


def _file(rng: random.Random) -> tuple[bytes, str]:
    kind = rng.randrange(13)
    if kind < 5:
        return _pillow(rng)
    if kind == 12:
        return _deep(rng)
    if kind < 7:
        return _radiance(rng)
    if kind < 9:
        return _exr(rng)
    if kind == 9:
        return _claimed(rng)
    if kind == 10:
        return rng.choice((
            (b"", "nothing"), (b"\xff\xd8", "a JPEG's first bytes"), (b"GIF89a", "a GIF's first bytes"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"), (b"%PDF-1.7\n", "PDF"), (b"PK\x03\x04", "a zip"),
            (b"#?RADIANCE\n", "a radiance line"), (b"v/1\x01\x02\0\0\0", "an EXR's first bytes"),
            (b"<!doctype html><title>404</title>", "HTML"),
        ))  # fmt: skip
    return rng.randbytes(rng.choice((1, 30, 3000))), "noise"


def _picture(rng: random.Random) -> np.ndarray:
    kind = rng.randrange(5)
    if kind < 2:
        return face()
    if kind == 2:
        return np.hstack([face(), face()])
    shape = rng.choice(((64, 128), (1, 1), (1, 700), (700, 1), (2, 3), (33, 17), (300, 200)))
    pixels = np.random.default_rng(rng.randrange(1 << 30))
    return pixels.integers(0, 256, (*shape, 3), np.uint8)


def _pillow(rng: random.Random) -> tuple[bytes, str]:
    image = Image.fromarray(_picture(rng))
    mode, kind = rng.choice(MODES), rng.choice(FORMATS)
    options: dict[str, object] = {}
    try:
        image = image.convert("L").convert(mode) if mode in ("I;16", "I", "F", "LA", "1") else image.convert(mode)
        if rng.random() < 0.4:
            exif = Image.Exif()
            exif[0x0112] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535))
            options["exif"] = exif
        if kind == "JPEG":
            options |= {"quality": rng.choice((1, 50, 100)), "progressive": rng.random() < 0.5}
        if rng.random() < 0.2:
            options["icc_profile"] = rng.randbytes(rng.choice((4, 200, 70000)))
        if kind in ("GIF", "WEBP", "PNG", "TIFF") and rng.random() < 0.25:
            options |= {"save_all": True, "append_images": [image.rotate(20), image]}
        if kind == "PNG" and mode == "P":
            options["transparency"] = rng.choice((0, 5, b"\0\x40\xff"))
        out = io.BytesIO()
        image.save(out, kind, **options)  # type: ignore[arg-type]
        return out.getvalue(), f"{kind} {mode} {image.size} {sorted(options)}"
    except Exception:  # Pillow does not write every mode in every format
        out = io.BytesIO()
        Image.fromarray(_picture(rng)).save(out, "PNG")
        return out.getvalue(), "PNG"


def _deep(rng: random.Random) -> tuple[bytes, str]:
    """Draws a picture of more than 8 bits, with alpha or without, or an interlaced one."""
    kind = rng.randrange(4)
    if kind == 0:
        return _interlaced(rng)
    suffix = rng.choice((".png", ".tiff"))
    picture = _picture(rng).astype(np.uint16) * 257
    if kind == 1:
        return cv2.imencode(".tiff", picture.astype(np.float32) / 65535)[1].tobytes(), f"float TIFF {picture.shape}"
    if rng.random() < 0.5:
        alpha = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 65536, picture.shape[:2], np.uint16)
        picture = np.dstack([picture, alpha])
    return cv2.imencode(suffix, picture)[1].tobytes(), f"16 bit {suffix} {picture.shape}"


def _interlaced(rng: random.Random) -> tuple[bytes, str]:
    """Draws a PNG in seven passes (Adam7), which neither Pillow nor OpenCV writes."""
    rgb = _picture(rng)
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = [rgb[y::step_y, x::step_x] for y, x, step_y, step_x in starts]
    rows = b"".join(b"\0" + row.tobytes() for each in passes if each.shape[1] for row in each)
    header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 8, 2, 0, 0, 1)
    return _png(header, zlib.compress(rows, 1)), f"interlaced PNG {rgb.shape}"


def _png(header: bytes, data: bytes) -> bytes:
    """Returns a PNG of these contents of its IHDR and IDAT."""
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    written = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def _radiance(rng: random.Random) -> tuple[bytes, str]:
    height, width = rng.choice(((32, 64), (1, 2), (8, 16), (64, 64)))
    values = np.random.default_rng(rng.randrange(1 << 30)).gamma(0.5, 1.0, (height, width, 3)).astype(np.float32)
    if rng.random() < 0.3:
        values.flat[rng.randrange(values.size)] = rng.choice((1e30, 0.0, 65504.0))
    data = cv2.imencode(".hdr", values)[1].tobytes()
    if rng.random() < 0.6:
        lines = (
            b"FORMAT=32-bit_rle_xyze\n", b"EXPOSURE=0\n", b"EXPOSURE=nan\n", b"EXPOSURE=1e39\n", b"GAMMA=-1\n",
            b"PRIMARIES=0 0 0 0 0 0 0 0\n", b"COLORCORR=0 1 2\n", b"PIXASPECT=0\n", b"# \xff\xfe\n", b"=\n",
            b"PRIMARIES=a b\n", b"FORMAT=\n",
        )  # fmt: skip
        data = data.replace(b"FORMAT=32-bit_rle_rgbe\n", rng.choice(lines) + b"FORMAT=32-bit_rle_rgbe\n", 1)
    if rng.random() < 0.5:
        sizes = (
            b"+Y 8 +X 16",
            b"-X 64 +Y 32",
            b"-Y 0 +X 64",
            b"-Y 99999999 +X 99999999",
            b"-Y -3 +X 4",
            b"-Y 32",
            b"+X",
        )
        head, _, rest = data.partition(b"-Y ")
        data = head + rng.choice(sizes) + b"\n" + rest.partition(b"\n")[2]
    return data, "radiance"


def _exr(rng: random.Random) -> tuple[bytes, str]:
    import OpenEXR

    height, width = rng.choice(((16, 32), (1, 1), (8, 64)))
    pixels = np.random.default_rng(rng.randrange(1 << 30)).gamma(0.5, 1.0, (height, width, 3))
    if rng.random() < 0.4:
        pixels.flat[rng.randrange(pixels.size)] = rng.choice((np.inf, -np.inf, np.nan, 6e4, -5.0))
    depth = rng.choice((np.float16, np.float32, np.uint32))
    with np.errstate(all="ignore"):
        stored = pixels.astype(depth)
    names = rng.choice((("R", "G", "B"), ("red", "green", "blue"), ("Y",), ("A", "Z"), ("left.R", "left.G", "left.B")))
    channels = {name: np.ascontiguousarray(stored[..., k % 3]) for k, name in enumerate(names)}
    compression = rng.choice((OpenEXR.NO_COMPRESSION, OpenEXR.ZIP_COMPRESSION, OpenEXR.PIZ_COMPRESSION,
                              OpenEXR.RLE_COMPRESSION, OpenEXR.B44_COMPRESSION))  # fmt: skip
    header: dict[str, Any] = {"compression": compression, "type": OpenEXR.scanlineimage}
    if tiled := rng.random() < 0.25:
        header |= {"type": OpenEXR.tiledimage, "tiles": OpenEXR.TileDescription()}
    parts = rng.choice((1, 1, 1, 2))
    out = io.BytesIO()
    try:
        whole = [OpenEXR.Part(dict(header), dict(channels), f"part {k}") for k in range(parts)]
        with OpenEXR.File(header, channels) if parts == 1 else OpenEXR.File(whole) as file:
            file.write(out)
    except Exception:
        return b"v/1\x01\x02\0\0\0" + rng.randbytes(300), "EXR that is none"
    return out.getvalue(), f"EXR {names} {np.dtype(depth).name} parts {parts} tiled {tiled}"


def _claimed(rng: random.Random) -> tuple[bytes, str]:
    """Draws a small file that claims to be a huge picture."""
    width, height = rng.choice(((65535, 65535), (0, 5), (1, 2**31 - 1), (50000, 3), (2**31, 2**31), (30000, 30000)))
    kind = rng.randrange(4)
    if kind == 0:
        header = struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, rng.choice((8, 16, 1, 7)), 2, 0, 0, 0)
        return _png(header, zlib.compress(bytes(64))), f"PNG of {width}×{height}"
    if kind == 1:
        sizes = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
        return b"\xff\xd8\xff\xc0\0\x11\x08" + sizes + b"\x03\1\x22\0\2\x11\1\3\x11\1\xff\xd9", "JPEG of a huge size"
    if kind == 2:
        return f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode() + bytes(100), "huge radiance"
    body = (
        b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + struct.pack("<I", width)[:3] + struct.pack("<I", height)[:3]
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body, "huge WebP"


def _form(rng: random.Random, data: bytes, name: str, session: str | None, story: str) -> Upload:
    line = rng.choice(("------x", "b", "a" * 70, "--"))
    quoted = name.replace('"', "%22").encode("utf-8", "replace")
    field = rng.choice((b"file",) * 60 + (b"files", b"", b"session", b"file[]"))
    kind = rng.choice((b"image/jpeg",) * 4 + (b"", b"text/html", b"image/x-\xff", b"application/octet-stream"))
    part = b'Content-Disposition: form-data; name="' + field + b'"; filename="' + quoted + b'"\r\n'
    part += b"Content-Type: " + kind + b"\r\n\r\n" + data + b"\r\n"
    parts = [part]
    if session is not None:
        spoken = rng.choice((session,) * 60 + ("", "nobody", "../" + session, "\0", session + " ")).encode()
        told = b'Content-Disposition: form-data; name="session"\r\n\r\n' + spoken + b"\r\n"
        parts = rng.choice(
            ([told, part],) * 60 + ([part, told], [part], [told], [told, told, part], [told, part, part])
        )
    opening = f"--{line}\r\n".encode()
    body = b"".join(opening + each for each in parts) + f"--{line}--\r\n".encode()
    content_type = f"multipart/form-data; boundary={line}"
    if rng.random() < 0.05:
        content_type = rng.choice((
            "multipart/form-data", "multipart/form-data; boundary=", "application/json", "", "text/plain",
            "multipart/form-data; boundary=other", "application/x-www-form-urlencoded", "image/jpeg",
            "multipart/mixed; boundary=" + line, "multipart/form-data; charset=utf-7; boundary=" + line,
        ))  # fmt: skip
    if rng.random() < 0.04:
        body = damaged(rng, body)
    return Upload(body, content_type, story + f", {content_type[:40]!r}")
