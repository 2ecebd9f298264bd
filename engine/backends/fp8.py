"""A network's Linear and Conv2d layers in FP8 (E4M3): weights stored so, activations rounded on the way in.

Scales are per tensor, the largest absolute value met on calibration windows over 448 (max calibration, as TensorRT's
explicit quantisation wants it). Written as torch operators with an ONNX translation to QuantizeLinear and
DequantizeLinear: nvidia-modelopt 0.47 quantises on the CPU, but torch.export refuses its quantisers.
The first and last convolution and the time embedding stay as they are: few FLOPs, and everything passes through them.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST = 448.0  # of E4M3
KEPT = ("conv_in", "conv_out", "time_emb", "add_embedding", "time_pos_embed", "mix")  # substrings of layer names


@torch.library.custom_op("relight::fp8_round", mutates_args=())
def fp8_round(
    x: Tensor,
    scale: Tensor,  # []
) -> Tensor:
    """x as FP8 shows it: rounded to E4M3 at this scale, back in its own dtype."""
    return ((x / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn).to(x.dtype)) * scale


@torch.library.custom_op("relight::fp8_expand", mutates_args=())
def fp8_expand(
    weight: Tensor,  # float8_e4m3fn
    scale: Tensor,  # []
) -> Tensor:
    """A stored weight in the scale's dtype."""
    return weight.to(scale.dtype) * scale


@fp8_round.register_fake
def _(x: Tensor, scale: Tensor) -> Tensor:
    return torch.empty_like(x)


@fp8_expand.register_fake
def _(weight: Tensor, scale: Tensor) -> Tensor:
    return torch.empty_like(weight, dtype=scale.dtype)


class Fp8Layer(nn.Module):
    """A Linear or Conv2d with an FP8 weight and an input rounded to FP8."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, largest_input: float) -> None:
        super().__init__()
        dtype, device = layer.weight.dtype, layer.weight.device
        weight_scale = _scale(float(layer.weight.detach().abs().max()), dtype)
        self.register_buffer("input_scale", torch.tensor(_scale(largest_input, dtype), dtype=dtype, device=device))
        self.register_buffer("weight_scale", torch.tensor(weight_scale, dtype=dtype, device=device))
        quantised = (layer.weight.detach().float() / weight_scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
        self.register_buffer("weight", quantised)
        self.bias = layer.bias
        self._convolution: tuple[Any, Any] | None = (
            (layer.stride, layer.padding) if isinstance(layer, nn.Conv2d) else None
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.ops.relight.fp8_round(x, self.input_scale)
        weight = torch.ops.relight.fp8_expand(self.weight, self.weight_scale)
        if self._convolution is None:
            return functional.linear(x, weight, self.bias)
        return functional.conv2d(x, weight, self.bias, *self._convolution)


def fp8_network(
    module: nn.Module,
    cases: Iterable[Mapping[str, Tensor]],  # calibration: what the module is called with
) -> nn.Module:
    """A copy of `module` with FP8 layers; the original is left alone."""
    quantised = copy.deepcopy(module)
    layers = {name: layer for name, layer in quantised.named_modules() if _wanted(name, layer)}
    largest = dict.fromkeys(layers, 0.0)

    def watch(name: str) -> Callable[..., None]:
        def hook(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest[name] = max(largest[name], float(inputs[0].abs().max()))

        return hook

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    with torch.no_grad():
        for case in cases:
            quantised(*case.values())
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        setattr(quantised.get_submodule(parent), child, Fp8Layer(layer, largest[name]))
    return quantised.eval()


def onnx_translations() -> dict[Any, Any]:
    """For torch.onnx.export's `custom_translation_table`."""
    import onnxscript

    op: Any = onnxscript.opset20

    def rounded(x: Any, scale: Any) -> Any:
        zero = op.Cast(op.Constant(value_float=0.0), to=17)  # FLOAT8E4M3FN
        return op.DequantizeLinear(op.QuantizeLinear(x, scale, zero), scale, zero)

    def expanded(weight: Any, scale: Any) -> Any:
        return op.DequantizeLinear(weight, scale)

    return {torch.ops.relight.fp8_round.default: rounded, torch.ops.relight.fp8_expand.default: expanded}


def _wanted(name: str, layer: nn.Module) -> bool:
    if any(part in name for part in KEPT):
        return False
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return isinstance(layer, nn.Linear)


def _scale(largest: float, dtype: torch.dtype) -> float:
    # Not below the dtype's smallest normal number: a scale of 0 would divide by it.
    return max(largest / LARGEST, float(torch.finfo(dtype).smallest_normal), 1e-12)
