"""SurfaceNetwork runs the surface network: picture, coarse normals and mask become better normals, light, confidence.

Its weights are part of the package (`training.surface` makes them, from rendered heads alone): docs/cpu_engine.md.
"""

from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from engine.surface.crop import SIDE
from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.types import FloatArray

WEIGHTS = Path(__file__).parent / "data" / "surface.tflite"
# The error of the normal that the network expects: up to the first it is believed, from the second on it is not.
BELIEVED, DOUBTED = 0.2, 0.6


class HeadLayers(NamedTuple):
    """What the network says of the square, S = SIDE px."""

    normal: FloatArray  # [S,S,3] unit, +x right, +y up, +z to the viewer
    light: FloatArray  # [S,S] log of the light's luminance there, over its mean on the face
    confidence: FloatArray  # [S,S] 0 … 1; 0 off the mask


class SurfaceNetwork:
    """Holds the network. Not for two threads at once."""

    def __init__(self, path: Path = WEIGHTS) -> None:
        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._given = np.empty((1, SIDE, SIDE, 7), np.float32)

    def __call__(self, rgb: NDArray[np.uint8], normal: FloatArray, mask: FloatArray) -> HeadLayers:
        """Return the layers of a square: picture [S,S,3], coarse unit normals [S,S,3] and mask [S,S] in [0,1]."""
        given = self._given[0]
        np.multiply(rgb, np.float32(1 / 127.5), out=given[..., :3], dtype=np.float32)
        given[..., :3] -= 1
        given[..., 3:6] = normal
        given[..., 6] = 2 * mask - 1
        self._interpreter.set_tensor(self._input, self._given)
        self._interpreter.invoke()
        answer = self._interpreter.get_tensor(self._output)[0]
        better, light = np.empty_like(normal), np.empty(mask.shape, np.float32)
        confidence = np.empty(mask.shape, np.float32)
        _read(answer, normal, mask, better, light, confidence)
        return HeadLayers(better, light, confidence)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _read(answer, normal, mask, better, light, confidence):  # type: ignore[no-untyped-def]
    for i in range(light.shape[0]):
        for j in range(light.shape[1]):
            a = answer[i, j]
            x, y = normal[i, j, 0] + a[0], normal[i, j, 1] + a[1]
            z = max(normal[i, j, 2] + a[2], np.float32(0.02))  # no visible surface faces away from the viewer
            inverse = np.float32(1.0) / np.sqrt(x * x + y * y + z * z)
            better[i, j, 0], better[i, j, 1], better[i, j, 2] = x * inverse, y * inverse, z * inverse
            # Logarithm of the luminance: the mean of the logs and half of their variance, which stand for a sum of
            # exponentials as far as a lamp's colour goes.
            mean = np.float32(LUMA_R) * a[3] + np.float32(LUMA_G) * a[4] + np.float32(LUMA_B) * a[5]
            r, g, b = a[3] - mean, a[4] - mean, a[5] - mean
            spread = np.float32(LUMA_R) * r * r + np.float32(LUMA_G) * g * g + np.float32(LUMA_B) * b * b
            light[i, j] = mean + np.float32(0.5) * spread
            expected = np.exp(min(max(a[6], np.float32(-4.0)), np.float32(2.0)))
            sure = (np.float32(DOUBTED) - expected) * np.float32(1 / (DOUBTED - BELIEVED))
            # What it says of the wall behind must not count in a fit over the square.
            person = min(max((mask[i, j] - np.float32(0.3)) * np.float32(2.5), np.float32(0.0)), np.float32(1.0))
            confidence[i, j] = person * min(max(sure, np.float32(0.0)), np.float32(1.0))
