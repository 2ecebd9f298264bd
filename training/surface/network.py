"""The surface network: LAYERS describes it once, `SurfaceNetwork` trains it, `training.surface.tflite` writes it.

A U-Net of plain 3×3 convolutions over SIDE × SIDE px (Ronneberger et al., MICCAI 2015), with sums in place of
concatenations, because LiteRT's kernels run those in place. Batch normalisation is folded into the weights on export.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUTS = 7  # picture (3), the engine's normals (3), the mask
OUTPUTS = 7  # change of the normal (3), log light (3), log of the normal's expected error
STEMS = {"input": INPUTS}


@dataclass(frozen=True, slots=True)
class Layer:
    """Describes one step: a convolution of `source`, with what is added to it before the activation."""

    name: str
    source: str
    channels: int
    kernel: int = 3
    stride: int = 1
    add: str = ""  # a layer of the same size, added before the activation
    activation: bool = True
    upsample: bool = False  # twice as large by bilinear interpolation, after the activation


LAYERS: Sequence[Layer] = (
    Layer("fine", "input", 12),
    Layer("pair", "input", 20, stride=2),
    Layer("pair2", "pair", 24),
    Layer("quarter", "pair2", 48, stride=2),
    Layer("quarter2", "quarter", 48, add="quarter"),
    Layer("eighth", "quarter2", 80, stride=2),
    Layer("eighth2", "eighth", 80, add="eighth"),
    Layer("small", "eighth2", 112, stride=2),
    Layer("small2", "small", 112, add="small"),
    Layer("small3", "small2", 80, kernel=1, upsample=True),
    Layer("up8", "small3", 80, add="eighth2"),
    Layer("up8b", "up8", 48, kernel=1, upsample=True),
    Layer("up4", "up8b", 48, add="quarter2"),
    Layer("up4b", "up4", 24, kernel=1, upsample=True),
    Layer("up2", "up4b", 24, add="pair2"),
    Layer("up2b", "up2", 12, kernel=1, upsample=True),
    Layer("up", "up2b", 12, add="fine"),
    Layer("out", "up", OUTPUTS, activation=False),
)


Weights = Mapping[str, tuple[Tensor, Tensor]]  # weight [O,I,K,K] and bias [O] of each layer


class SurfaceNetwork(nn.Module):
    """Runs LAYERS on pictures [B,INPUTS,S,S] in [-1,1] and returns [B,OUTPUTS,S,S].

    With `weights` it goes on from there: its layers have a bias, and batch normalisation stays folded in.
    """

    def __init__(self, weights: Weights | None = None) -> None:
        super().__init__()
        channels = dict(STEMS)
        self.convolutions = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for layer in LAYERS:
            count = channels[layer.source]
            biased = layer is LAYERS[-1] or weights is not None
            self.convolutions[layer.name] = nn.Conv2d(count, layer.channels, layer.kernel, layer.stride, bias=biased)
            if not biased:
                self.norms[layer.name] = nn.BatchNorm2d(layer.channels)
            channels[layer.name] = layer.channels
        for parameter in self.convolutions["out"].parameters():
            nn.init.zeros_(parameter)
        for name, (weight, bias) in (weights or {}).items():
            self.convolutions[name].load_state_dict({"weight": weight, "bias": bias})

    def forward(self, picture: Tensor) -> Tensor:
        values = {"input": picture}
        for layer in LAYERS:
            x = values[layer.source]
            if layer.kernel == 3:  # as TensorFlow's SAME: a stride of two leaves out the first row, not the last
                x = F.pad(x, (1, 1, 1, 1) if layer.stride == 1 else (0, 1, 0, 1))
            x = self.convolutions[layer.name](x)
            if layer.name in self.norms:
                x = self.norms[layer.name](x)
            if layer.add:
                x = x + values[layer.add]
            if layer.activation:
                x = F.relu(x)
            if layer.upsample:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            values[layer.name] = x
        return values[LAYERS[-1].name]


def folded(network: SurfaceNetwork) -> Weights:
    """Returns weight [O,I,K,K] and bias [O] of every layer, batch normalisation folded in."""
    out = {}
    for layer in LAYERS:
        convolution = network.convolutions[layer.name]
        assert isinstance(convolution, nn.Conv2d)
        weight, bias = convolution.weight.detach(), convolution.bias
        if layer.name in network.norms:
            norm = network.norms[layer.name]
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight = weight * scale[:, None, None, None]
            shift: Tensor = norm.bias - norm.running_mean * scale
        else:
            assert bias is not None
            shift = bias
        out[layer.name] = weight.detach(), shift.detach()
    return out
