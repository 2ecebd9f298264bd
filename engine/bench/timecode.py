"""A number inside the picture, so that glass-to-glass delay is measured: `stamp` draws it, `read` finds it again.

24 columns along the top edge, each two blocks high: 16 bits of value, then a CRC-8. A bit is which of its two blocks
is the brighter, so it survives relighting (any gain smooth over a few pixels) and codecs at low rates. A mirrored
strip fails the CRC. Picture uint8 [H,W,3]; `read` takes luma [H,W] too.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

VALUE_BITS = 16
CRC_BITS = 8
COLUMNS = VALUE_BITS + CRC_BITS
DARK, BRIGHT = 30, 200  # away from the ends, where relighting clips
MIN_CONTRAST = 6.0  # grey levels between the two blocks of a bit; less is noise
MIN_WIDTH, MIN_HEIGHT = 4 * COLUMNS, 32  # px: blocks below 4 px drown in the codec


def strip_height(height: int) -> int:
    """Rows the strip covers in a picture of `height` rows."""
    return 2 * _block_height(height)


def stamp(rgb: NDArray[np.uint8], value: int) -> None:
    """Draw `value` (kept modulo 2^16) into `rgb`, in place. ValueError where the picture is too small."""
    height, width = rgb.shape[:2]
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        raise ValueError(f"picture is {width}x{height}; a timecode needs at least {MIN_WIDTH}x{MIN_HEIGHT}")
    value %= 1 << VALUE_BITS
    bits = _bits(value, VALUE_BITS) + _bits(_crc8(value), CRC_BITS)
    edges, rows = _edges(width), _block_height(height)
    for bit, (left, right) in zip(bits, pairwise(edges), strict=True):
        rgb[:rows, left:right] = BRIGHT if bit else DARK
        rgb[rows : 2 * rows, left:right] = DARK if bit else BRIGHT


def read(picture: NDArray[np.uint8]) -> int | None:
    """The value drawn into `picture`, or None where there is none to trust."""
    height, width = picture.shape[:2]
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return None
    rows = _block_height(height)
    strip = picture[: 2 * rows].astype(np.float32)
    if strip.ndim == 3:
        strip = strip.mean(axis=2)
    inset = max(1, rows // 4)
    upper = strip[inset : rows - inset].mean(axis=0)
    lower = strip[rows + inset : 2 * rows - inset].mean(axis=0)
    difference = upper - lower  # [W]
    edges = _edges(width)
    bits = []
    for left, right in pairwise(edges):
        margin = (right - left) // 4  # neighbours bleed over a block's border
        contrast = float(difference[left + margin : right - margin].mean())
        if abs(contrast) < MIN_CONTRAST:
            return None
        bits.append(contrast > 0)
    value, crc = _number(bits[:VALUE_BITS]), _number(bits[VALUE_BITS:])
    return value if crc == _crc8(value) else None


def _block_height(height: int) -> int:
    return max(8, height // 30)


def _edges(width: int) -> list[int]:
    return [round(width * i / COLUMNS) for i in range(COLUMNS + 1)]


def _bits(value: int, count: int) -> list[bool]:
    return [bool(value >> shift & 1) for shift in range(count - 1, -1, -1)]


def _number(bits: list[bool]) -> int:
    number = 0
    for bit in bits:
        number = number << 1 | bit
    return number


def _crc8(value: int) -> int:
    """CRC-8 (polynomial 0x07, initial value 0xFF, so that an empty strip does not pass) over the value's two bytes."""
    crc = 0xFF
    for byte in value.to_bytes(2, "big"):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc
