"""Radiance .hdr bytes → linear RGB, in memory (OpenCV's reader goes through a temporary file).

RGBE: three mantissas share an exponent, value = mantissa · 2^(e - 136) (Ward, "Real Pixels", Graphics Gems II, 1991).
Scanlines are flat, or run-length coded, by whole pixels (the older way) or by component; XYZE files hold CIE XYZ in
place of RGB (Radiance file formats, radsite.lbl.gov/radiance/refer).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lcvd.errors import ImageError
from lcvd.image_header import radiance_scanlines
from lcvd.lighting.colour import rec709_from_xyz
from lcvd.types import FloatArray

XYZE = b"FORMAT=32-bit_rle_xyze"


def decode_radiance(data: bytes) -> FloatArray:
    """Radiance file → linear Rec. 709 RGB float32 [H,W,3], upright. Raises ImageError where it ends early."""
    scan = radiance_scanlines(data)
    image = decode_rgbe(data[scan.body :], scan.pixels, scan.lines)
    if XYZE in data[: scan.body].splitlines():
        image = np.asarray(image @ rec709_from_xyz().T.astype(np.float32), np.float32)
    axes = (scan.line_axis, scan.pixel_axis)
    if axes[0].endswith(b"X"):  # the scanlines are columns
        image = image.swapaxes(0, 1)
    if b"+Y" in axes:
        image = image[::-1]
    if b"-X" in axes:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def decode_rgbe(body: bytes, width: int, height: int) -> FloatArray:
    """Decode `height` scanlines of `width` pixels to float32 [H,W,3]. Raises ImageError when they do not fit."""
    rgbe = np.zeros((height, width, 4), np.uint8) if len(body) >= 4 * height else None
    if rgbe is None or not _unpack(np.frombuffer(body, np.uint8), rgbe):
        raise ImageError("the Radiance picture ends early", "the file may be cut off; export it again")
    scale = np.where(rgbe[..., 3] > 0, np.ldexp(np.float32(1), rgbe[..., 3].astype(np.int32) - 136), np.float32(0))
    return np.multiply(rgbe[..., :3], scale[..., None], dtype=np.float32)


@njit(cache=True, nogil=True)
def _unpack(data: NDArray[np.uint8], out: NDArray[np.uint8]) -> bool:
    height, width, _ = out.shape
    at = 0
    for i in range(height):
        if at + 4 > data.size:
            return False
        coded = (
            8 <= width < 32768
            and data[at] == 2
            and data[at + 1] == 2
            and data[at + 2] < 128
            and (int(data[at + 2]) << 8) + int(data[at + 3]) == width
        )
        if not coded:
            # Flat, or the older runs: mantissas of 1 are not normal, so (1, 1, 1, n) means the last pixel n times more,
            # the count's next byte in a second such pixel.
            j, shift = 0, 0
            while j < width:
                if at + 4 > data.size:
                    return False
                if data[at] == 1 and data[at + 1] == 1 and data[at + 2] == 1:
                    count = int(data[at + 3]) << shift
                    if j == 0 or shift > 24 or j + count > width:
                        return False
                    for _ in range(count):
                        out[i, j] = out[i, j - 1]
                        j += 1
                    shift += 8
                else:
                    out[i, j] = data[at : at + 4]
                    j += 1
                    shift = 0
                at += 4
            continue
        at += 4
        for k in range(4):
            j = 0
            while j < width:
                if at >= data.size:
                    return False
                count = int(data[at])
                at += 1
                run = count > 128
                if run:
                    count -= 128
                needed = 1 if run else count
                if count == 0 or j + count > width or at + needed > data.size:
                    return False
                for _ in range(count):
                    out[i, j, k] = data[at]
                    j += 1
                    if not run:
                        at += 1
                if run:
                    at += 1
    return True
