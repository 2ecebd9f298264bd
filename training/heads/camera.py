"""This module models a webcam: a little lens blur, sRGB, a little noise, uint8.

Exposure is fixed: shade 1 is exposed normally under every light, otherwise a hint could not predict the picture.
"""

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.lighting.colour import srgb_from_linear
from lcvd.types import FloatArray

STEPS = 16384  # of the sRGB table: fine enough that the darkest step is a quarter of a code value
_CODE = (255 * srgb_from_linear(np.arange(STEPS + 1) / STEPS)).astype(np.float32)
TILE = 64  # how far the noise tile may be shifted


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """Holds the blur and noise of one clip's camera."""

    blur_px: float  # at 128 px; grows with the picture
    tile: FloatArray  # [S+TILE,S+TILE,3] noise in code values: frames see it shifted at random, far cheaper than new


def random_camera(rng: np.random.Generator, size: int) -> Camera:
    blur, sigma = rng.uniform(0.25, 0.6), rng.uniform(0.3, 1.6)
    return Camera(float(blur), sigma * rng.standard_normal((size + TILE, size + TILE, 3), np.float32))


def blurred(camera: Camera, picture: FloatArray) -> FloatArray:
    """Applies the lens to a picture [S,S,3] or a mask [S,S]."""
    sigma = camera.blur_px * picture.shape[0] / 128
    return cv2.GaussianBlur(picture, (0, 0), sigma)  # type: ignore[return-value]


def developed(camera: Camera, linear: FloatArray, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Applies lens, sensor noise and encoding: linear [S,S,3] -> sRGB uint8 [S,S,3]."""
    dy, dx = rng.integers(0, TILE, 2)
    size = linear.shape[0]
    out = np.empty(linear.shape, np.uint8)
    _encode(blurred(camera, linear), camera.tile[dy : dy + size, dx : dx + size], _CODE, out)
    return out


@numba.njit(cache=True, nogil=True)
def _encode(linear, noise, code, out):  # type: ignore[no-untyped-def]
    top = np.float32(len(code) - 1)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(3):
                x = min(max(linear[i, j, k], np.float32(0.0)), np.float32(1.0))
                value = code[int(x * top + np.float32(0.5))] + noise[i, j, k] + np.float32(0.5)
                out[i, j, k] = np.uint8(min(max(value, np.float32(0.0)), np.float32(255.0)))
