"""One LiteRT (TensorFlow Lite) network: an image becomes its output tensors, on one thread."""

import logging
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from lcvd.types import FloatArray

log = logging.getLogger(__name__)


class LiteRtNetwork:
    """A `.tflite` file with one image input [1,H,W,3] float32. Not for two threads at once: one owner each."""

    def __init__(self, path: Path) -> None:
        # One thread: two inside a stage of 2 ms never paid (docs/cpu_engine.md).
        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        (image,) = self._interpreter.get_input_details()
        self._input = image["index"]
        self._outputs = [d["index"] for d in self._interpreter.get_output_details()]
        _, self.height, self.width, _ = (int(n) for n in image["shape"])
        self._image = np.empty((1, self.height, self.width, 3), np.float32)

    def __call__(self, rgb: NDArray[np.uint8], gain: float = 1 / 255, bias: float = 0.0) -> list[FloatArray]:
        """Outputs (owned copies) for uint8 [height,width,3], fed as `rgb * gain + bias`."""
        np.multiply(rgb, np.float32(gain), out=self._image[0], dtype=np.float32)
        if bias:
            self._image += np.float32(bias)
        self._interpreter.set_tensor(self._input, self._image)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
