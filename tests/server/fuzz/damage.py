"""damaged breaks bytes as disks, networks and people do; the same draw gives the same damage."""

import random
import struct

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(rng: random.Random, data: bytes, times: int | None = None) -> bytes:
    """Returns `data` after `times` breakages, one to four where it is not said."""
    for _ in range(times if times is not None else rng.choice((1, 1, 1, 2, 4))):
        data = _once(rng, data)
    return data


def _once(rng: random.Random, data: bytes) -> bytes:
    if not data:
        return rng.randbytes(rng.randrange(40))
    at = rng.randrange(len(data))
    if rng.random() < 0.5:  # headers are where decisions are made
        at = min(at, rng.randrange(128))
    end = min(len(data), at + rng.choice((1, 4, 16, 256, 4096)))
    kind = rng.randrange(9)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[at:]
    if kind == 2:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 3, 30))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 3:
        return data[:at] + rng.randbytes(end - at) + data[end:]
    if kind == 4:
        return data[:at] + data[end:]
    if kind == 5:
        return data[:end] + data[at:]
    if kind == 6:
        return data[:at] + bytes(end - at) + data[end:]
    if kind == 7:
        size = rng.choice((1, 2, 4))
        value = rng.choice(EXTREMES) & (1 << 8 * size) - 1
        packed = struct.pack((">" if rng.random() < 0.5 else "<") + {1: "B", 2: "H", 4: "I"}[size], value)
        return data[:at] + packed + data[at + size :]
    return data + rng.randbytes(rng.choice((1, 100, 5000)))
