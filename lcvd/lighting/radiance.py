"""Radiance .hdr bytes → linear RGB, in memory (OpenCV's reader goes through a temporary file).

RGBE: three mantissas share an exponent, value = mantissa · 2^(e - 136) (Ward, "Real Pixels", Graphics Gems II, 1991).
Scanlines are flat, or run-length coded per component (Radiance file formats, radsite.lbl.gov/radiance/refer).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lcvd.errors import ImageError
from lcvd.types import FloatArray


def decode_rgbe(body: bytes, width: int, height: int) -> FloatArray:
    """Decode the scanlines after the resolution line to float32 [H,W,3]. Raises ImageError when they do not fit."""
    # Even a run-length coded line takes 4 + 4 · 2 bytes per 127 pixels: a smaller body cannot hold the picture.
    least = height * (4 + 8 * -(-width // 127)) if 8 <= width < 32768 else height * width * 4
    rgbe = np.zeros((height, width, 4), np.uint8) if len(body) >= least else None
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
            if at + 4 * width > data.size:
                return False
            for j in range(width):
                for k in range(4):
                    out[i, j, k] = data[at]
                    at += 1
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
