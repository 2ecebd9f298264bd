"""write_quantized writes the surface network with 8-bit weights and values, which LiteRT runs in a third of the time.

Weights have a scale for each channel, values one for each layer, by what is seen on samples (Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). The last
layer stays in floating point: in 8 bits its normals would be steps of more than a degree, which show as bands on a
cheek.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from engine.surface.crop import SIDE
from training.heads.scanned.parts import Part
from training.surface.measure import angle, given, normals, person_of
from training.surface.network import INPUTS, LAYERS, SurfaceNetwork, folded
from training.surface.samples import Samples
from training.surface.tflite import TfliteModel, read_tflite

FLOATING = LAYERS[-1].name
RARE = 1e-5  # share of the values at either end that may be cut off
Range = tuple[float, float]
OP = schema.BuiltinOperator


@torch.no_grad()
def value_ranges(network: SurfaceNetwork, given: Tensor) -> Mapping[str, Range]:
    """Returns the range of each layer's values on inputs [B,INPUTS,S,S]; of NAME/sum before what is added."""
    weights = folded(network)
    values: dict[str, Tensor] = {"input": given}
    found = {"input": (-1.0, 1.0)}
    for layer in LAYERS:
        x = values[layer.source]
        if layer.kernel == 3:
            x = F.pad(x, (1, 1, 1, 1) if layer.stride == 1 else (0, 1, 0, 1))
        x = F.conv2d(x, *weights[layer.name], stride=layer.stride)
        if layer.add:
            found[layer.name + "/part"] = _range(x)
            x = x + values[layer.add]
        x = F.relu(x) if layer.activation else x
        found[layer.name] = _range(x)
        if layer.upsample:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        values[layer.name] = x
    return found


def _range(values: Tensor) -> Range:
    some = np.sort(values.numpy().ravel()[:: max(values.numel() // 2_000_000, 1)])
    out = int(RARE * len(some))
    return min(float(some[out]), 0.0), max(float(some[-1 - out]), 1e-3)


class _Quantized(TfliteModel):
    """Holds each layer's values as int8, and as float32 where they are asked for."""

    def __init__(self, side: int, ranges: Mapping[str, Range]) -> None:
        super().__init__()
        self._ranges = ranges
        self.given = self.tensor("input", (1, side, side, INPUTS))
        self._known: dict[str, tuple[int, int]] = {}  # tensor and side
        self.keep("input", self._cast(OP.QUANTIZE, self.given, self.int8("input", side, INPUTS)), side)

    def int8(self, name: str, side: int, channels: int, of: str = "") -> int:
        """Makes a tensor for values in the range of `of`, or else of `name`."""
        low, high = self._ranges[of or name]
        scale = (high - low) / 255
        zero = int(np.clip(round(-128 - low / scale), -128, 127))
        at = self.tensor(name + "/8", (1, side, side, channels))
        self._scaled(at, schema.TensorType.INT8, np.array([scale]), zero)
        return at

    def keep(self, name: str, at: int, side: int) -> None:
        self._known[name] = at, side

    def value(self, name: str) -> tuple[int, int]:
        return self._known[name]

    def scale(self, at: int) -> float:
        return float(self.tensors[at].quantization.scale[0])

    def constant(self, name: str, values: NDArray, scale: NDArray) -> int:
        """Makes a tensor of whole numbers, int8 or int32, with a `scale` for each entry of the first axis."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.buffers.append(buffer)
        at = self.tensor(name, values.shape)
        self.tensors[at].buffer = len(self.buffers) - 1
        kind = schema.TensorType.INT8 if values.dtype == np.int8 else schema.TensorType.INT32
        self._scaled(at, kind, scale, 0)
        return at

    def floating(self, at: int, shape: tuple[int, ...]) -> int:
        return self._cast(OP.DEQUANTIZE, at, self.tensor("float", shape))

    def _scaled(self, at: int, kind: int, scale: NDArray, zero: int) -> None:
        quantization = schema.QuantizationParametersT()
        quantization.scale = scale.astype(np.float32)
        quantization.zeroPoint = np.full(len(scale), zero, np.int64)
        self.tensors[at].type, self.tensors[at].quantization = kind, quantization

    def _cast(self, code: int, source: int, target: int) -> int:
        if code == OP.QUANTIZE:
            self.operator(code, [source], target, schema.BuiltinOptions.QuantizeOptions, schema.QuantizeOptionsT())
        else:
            self.operator(code, [source], target, schema.BuiltinOptions.DequantizeOptions, schema.DequantizeOptionsT())
        return target


def write_quantized(network: SurfaceNetwork, side: int, path: Path, ranges: Mapping[str, Range]) -> None:
    """Writes the network for pictures of `side` px, input and output float32 as those of `write_tflite`."""
    model = _Quantized(side, ranges)
    weights = folded(network)
    for layer in LAYERS[:-1]:
        weight, bias = (part.numpy() for part in weights[layer.name])
        source, size = model.value(layer.source)
        size //= layer.stride
        kernel = weight.transpose(0, 2, 3, 1)
        scale = np.maximum(np.abs(kernel).reshape(len(kernel), -1).max(1), 1e-8) / 127
        eight = np.round(kernel / scale[:, None, None, None]).astype(np.int8)
        steps = scale * model.scale(source)
        inputs = [
            source,
            model.constant(layer.name, eight, scale),
            model.constant(layer.name + "/bias", np.round(bias / steps).astype(np.int32), steps),
        ]
        at = model.int8(layer.name + "/out", size, layer.channels, layer.name + ("/part" if layer.add else ""))
        model.convolution(layer, inputs, at, ends_here=layer.activation and not layer.add)
        if layer.add:
            total = model.int8(layer.name + "/sum", size, layer.channels, layer.name)
            model.sum([at, model.value(layer.add)[0]], total)
            at = total
        if layer.upsample:
            size *= 2
            larger = model.int8(layer.name + "/up", size, layer.channels, layer.name)
            model.resized(layer.name, at, larger, size)
            at = larger
        model.keep(layer.name, at, size)
    last = LAYERS[-1]
    source, size = model.value(last.source)
    weight, bias = (part.numpy() for part in weights[last.name])
    inputs = [
        model.floating(source, (1, size, size, weight.shape[1])),
        model.weights(last.name, weight.transpose(0, 2, 3, 1)),
        model.tensor(last.name + "/bias", bias.shape, bias.astype(np.float32)),
    ]
    at = model.tensor(last.name + "/out", (1, size, size, last.channels))
    model.convolution(last, inputs, at, ends_here=False)
    path.write_bytes(model.packed([model.given], [at]))


def quantize(weights: Path, samples: Path, path: Path, count: int = 300) -> dict[str, float]:
    """Writes the network of `weights` in 8 bits to `path`; ranges are those on the stored `samples` (one file's).

    Returns figures over every third sample, which the ranges have not seen: mean angle (°) between the normals of the
    two, and of each to the truth on skin and on the rest of the person. Raises DataError.
    """
    network = SurfaceNetwork(read_tflite(weights)).eval()
    stored = Samples([samples])
    every = torch.arange(min(count, len(stored)))
    seen, told = every[every % 3 != 0], every[every % 3 == 0]
    write_quantized(network, SIDE, path, value_ranges(network, given(stored.batch(seen))))
    batch = stored.batch(told)
    with torch.no_grad():
        before = network(given(batch))
    after = torch.from_numpy(run_tflite(path, given(batch).permute(0, 2, 3, 1).numpy()).transpose(0, 3, 1, 2))
    person = person_of(batch)
    skin = person & (batch["part"] == int(Part.SKIN))
    one, other, true = normals(before[:, :3], batch["mesh"]), normals(after[:, :3], batch["mesh"]), batch["normal"]
    figures = {"apart_deg": angle(one, other)[person]}
    for name, found in (("floating", one), ("quantized", other)):
        figures |= {
            f"{name}_skin_deg": angle(found, true)[skin],
            f"{name}_rest_deg": angle(found, true)[person & ~skin],
        }
    figures["light"] = (before[:, 3:6] - after[:, 3:6]).abs().mean(1, keepdim=True)[person]
    return {name: round(float(values.mean()), 4) for name, values in figures.items()}


def run_tflite(path: Path, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns what LiteRT says of pictures [B,S,S,C], one after the other."""
    runner = Interpreter(model_path=str(path), num_threads=1)
    runner.allocate_tensors()
    source, target = (d[0]["index"] for d in (runner.get_input_details(), runner.get_output_details()))
    out = []
    for picture in pictures:
        runner.set_tensor(source, np.ascontiguousarray(picture[None]))
        runner.invoke()
        out.append(runner.get_tensor(target)[0])
    return np.stack(out)
