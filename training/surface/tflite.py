"""write_tflite writes the surface network as a LiteRT file, layer by layer, by the schema that LiteRT ships itself.

The converters that start from torch bring TensorFlow or a compiler of their own; five operators need neither. Weights
are float32, or float16 with a dequantisation that LiteRT does once at load. `training.surface.quantized` writes int8,
and `read_tflite` reads either.
"""

import struct
from pathlib import Path

import flatbuffers
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from training.errors import DataError
from training.surface.network import INPUTS, LAYERS, Layer, SurfaceNetwork, Weights, folded

VERSION = 3
IDENTIFIER = b"TFL3"


class TfliteModel:
    """Collects tensors, buffers and operators."""

    def __init__(self) -> None:
        self.buffers = [schema.BufferT()]
        self.tensors: list[schema.TensorT] = []
        self.operators: list[schema.OperatorT] = []
        self.codes: list[int] = []

    def tensor(self, name: str, shape: tuple[int, ...], values: NDArray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name.encode(), np.array(shape, np.int32), 0
        made.type = schema.TensorType.FLOAT32
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            made.type = {
                "float16": schema.TensorType.FLOAT16,
                "float32": schema.TensorType.FLOAT32,
                "int32": schema.TensorType.INT32,
            }[values.dtype.name]
            self.buffers.append(buffer)
            made.buffer = len(self.buffers) - 1
        self.tensors.append(made)
        return len(self.tensors) - 1

    def operator(self, code: int, inputs: list[int], output: int, kind: int = 0, options: object = None) -> None:
        if code not in self.codes:
            self.codes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex = self.codes.index(code)
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        made.builtinOptionsType, made.builtinOptions = kind, options
        self.operators.append(made)

    def weights(self, name: str, values: NDArray) -> int:
        """Returns a float32 tensor of weights that are stored as float16."""
        stored = self.tensor(name + "/f16", values.shape, values.astype(np.float16))
        loaded = self.tensor(name, values.shape)
        self.operator(
            schema.BuiltinOperator.DEQUANTIZE, [stored], loaded,
            schema.BuiltinOptions.DequantizeOptions, schema.DequantizeOptionsT(),
        )  # fmt: skip
        return loaded

    def convolution(self, layer: Layer, inputs: list[int], output: int, *, ends_here: bool) -> None:
        """Adds the convolution of a layer, with its activation where nothing else comes before that."""
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME
        options.strideW = options.strideH = layer.stride
        options.dilationWFactor = options.dilationHFactor = 1
        relu, none = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.NONE
        options.fusedActivationFunction = relu if ends_here else none
        self.operator(schema.BuiltinOperator.CONV_2D, inputs, output, schema.BuiltinOptions.Conv2DOptions, options)

    def resized(self, name: str, source: int, larger: int, size: int) -> None:
        """Adds the bilinear interpolation of `source` to `larger`, which has a side of `size`."""
        options = schema.ResizeBilinearOptionsT()
        options.halfPixelCenters = True
        shape_of = self.tensor(name + "/size", (2,), np.array([size, size], np.int32))
        self.operator(
            schema.BuiltinOperator.RESIZE_BILINEAR, [source, shape_of], larger,
            schema.BuiltinOptions.ResizeBilinearOptions, options,
        )  # fmt: skip

    def sum(self, parts: list[int], total: int) -> None:
        """Adds the sum of two layers, with its activation."""
        options = schema.AddOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        self.operator(schema.BuiltinOperator.ADD, parts, total, schema.BuiltinOptions.AddOptions, options)

    def packed(self, inputs: list[int], outputs: list[int]) -> bytes:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.name = self.tensors, self.operators, b"surface"
        graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model = schema.ModelT()
        model.version, model.description = VERSION, b"relight-live surface network"
        model.subgraphs, model.buffers = [graph], self.buffers
        model.operatorCodes = []
        for code in self.codes:
            made = schema.OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), 1
            if code == schema.BuiltinOperator.RESIZE_BILINEAR:
                made.version = 3  # the first with half_pixel_centers
            if code == schema.BuiltinOperator.DEQUANTIZE:
                made.version = 3  # the first with float16
            model.operatorCodes.append(made)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


def write_tflite(network: SurfaceNetwork, side: int, path: Path, *, half: bool = True) -> None:
    """Writes the network for pictures of `side` px: input [1,S,S,INPUTS], output [1,S,S,OUTPUTS], float32."""
    model = TfliteModel()
    given = model.tensor("input", (1, side, side, INPUTS))
    values = {"input": (given, side, INPUTS)}
    for layer in LAYERS:
        weight, bias = (part.numpy() for part in folded(network)[layer.name])
        source, size, _ = values[layer.source]
        size //= layer.stride
        kernel = weight.transpose(0, 2, 3, 1)
        inputs = [source, model.weights(layer.name, kernel) if half else model.tensor(layer.name, kernel.shape, kernel),
                  model.tensor(layer.name + "/bias", bias.shape, bias.astype(np.float32))]  # fmt: skip
        ends_here = layer.activation and not layer.add
        shape = (1, size, size, layer.channels)
        at = model.tensor(layer.name + "/out", shape)
        model.convolution(layer, inputs, at, ends_here=ends_here)
        if layer.add:
            total = model.tensor(layer.name + "/sum", shape)
            model.sum([at, values[layer.add][0]], total)
            at = total
        if layer.upsample:
            size *= 2
            larger = model.tensor(layer.name + "/up", (1, size, size, layer.channels))
            model.resized(layer.name, at, larger, size)
            at = larger
        values[layer.name] = at, size, layer.channels
    path.write_bytes(model.packed([given], [values[LAYERS[-1].name][0]]))


def read_tflite(path: Path) -> Weights:
    """Reads the weights of a file of `write_tflite`. Raises DataError where it is none, or another network's."""
    try:
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        stored = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors}
        out = {}
        for layer in LAYERS:
            values = [
                _values(model, stored.get(layer.name + "/f16", stored[layer.name])),
                _values(model, stored[layer.name + "/bias"]),
            ]
            weight, bias = values
            out[layer.name] = torch.from_numpy(weight.transpose(0, 3, 1, 2).copy()), torch.from_numpy(bias)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error) as error:
        raise DataError(f"{path}: no weights of this network ({error})", "give a surface.tflite") from None
    return out


def _values(model: schema.ModelT, tensor: schema.TensorT) -> NDArray[np.float32]:
    """Returns what a tensor of weights holds; integers times their scales, which are those of the first axis."""
    types = {
        schema.TensorType.FLOAT16: np.float16, schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32,
    }  # fmt: skip
    raw = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    values = np.frombuffer(raw, types[tensor.type]).reshape(tuple(tensor.shape)).astype(np.float32)
    if tensor.quantization is not None and tensor.quantization.scale is not None:
        scale = np.asarray(tensor.quantization.scale, np.float32)
        values = values * scale.reshape(-1, *[1] * (values.ndim - 1))
    return values
