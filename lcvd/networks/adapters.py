"""Condition pictures become feature maps that are summed and added to the UNet right after its `conv_in`.

One `ConvAdapter` (supplement Fig. 8) serves the shading hint, the reference portrait and the landmark map; `Adapters`
holds the three under their published names (`light`, `ref`, `head`). Purely per frame and without normalisation, so
features may be computed frame by frame, and the reference's once. A condition is dropped (the paper's α, β ∈ {0, 1}) by
zeroing its *features*: the adapters have biases, so a black picture would not drop it. 205,557 parameters each.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from lcvd.errors import ShapeError

ConditionName = Literal["shading", "reference", "landmarks"]
# Our word for a condition -> the name its weights were published under.
PUBLISHED_NAME: dict[ConditionName, str] = {"shading": "light", "reference": "ref", "landmarks": "head"}
DOWNSAMPLING = 8
# (in, out, kernel, stride) of the trunk; padding 1 and SiLU throughout.
_TRUNK = (
    (3, 3, 3, 1),
    (3, 16, 4, 2),
    (16, 16, 3, 1),
    (16, 32, 4, 2),
    (32, 32, 3, 1),
    (32, 64, 4, 2),
    (64, 64, 3, 1),
    (64, 128, 3, 1),
)


class ConvAdapter(nn.Module):
    """Maps pictures [N,3,H,W] to features [N,out_channels,H/8,W/8], times a learned scalar."""

    def __init__(self, out_channels: int = 320) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in _TRUNK:
            layers += [nn.Conv2d(inputs, outputs, kernel, stride, padding=1), nn.SiLU()]
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(_TRUNK[-1][1], out_channels, 1)
        self.scale = nn.Parameter(torch.full((1,), 2.0))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set a He-normal trunk and a zero projection, so that a fresh adapter leaves the UNet unchanged."""
        for layer in self.conv_layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=math.sqrt(2.0 / layer.weight[0].numel()))
                _zero(layer.bias)
        _zero(self.final_proj.weight)
        _zero(self.final_proj.bias)
        nn.init.constant_(self.scale, 2.0)

    def forward(
        self,
        pixels: Tensor,  # [N,3,H,W]
    ) -> Tensor:
        return self.final_proj(self.conv_layers(pixels)) * self.scale


class Adapters(nn.Module):
    """The three adapters; forward returns the sum of their features."""

    def __init__(self, out_channels: int = 320) -> None:
        super().__init__()
        self.light = ConvAdapter(out_channels)
        self.ref = ConvAdapter(out_channels)
        self.head = ConvAdapter(out_channels)

    def forward(
        self,
        shading: Tensor | None = None,  # [B,F,3,H,W] in [0,1], black outside the face
        reference: Tensor | None = None,  # [B,F or 1,3,H,W] in [-1,1], the whole portrait
        landmarks: Tensor | None = None,  # [B,F,3,H,W] in [0,1]
        keep: Mapping[ConditionName, Tensor] | None = None,  # [B] of 0 or 1 for each condition
    ) -> Tensor | None:
        """Return the sum of the given conditions' features, [B,F,C,h,w]; None (which adds nothing) without any.

        A condition that is absent, or whose `keep` is 0, contributes exactly zero. Raises ShapeError.
        """
        given: dict[ConditionName, Tensor | None] = {
            "shading": shading,
            "reference": reference,
            "landmarks": landmarks,
        }
        total: Tensor | None = None
        for name, pixels in given.items():
            if pixels is None:
                continue
            part = self.features(name, pixels)
            if keep is not None and name in keep:
                part = part * keep[name].to(part.dtype).reshape(-1, 1, 1, 1, 1)
            total = part if total is None else total + part
        return total

    def features(
        self,
        name: ConditionName,
        pixels: Tensor,  # [B,F,3,H,W]
    ) -> Tensor:
        """Return the features of one condition, [B,F,C,h,w]. Raises ShapeError."""
        if pixels.ndim != 5 or pixels.shape[2] != 3 or pixels.shape[3] % DOWNSAMPLING or pixels.shape[4] % DOWNSAMPLING:
            raise ShapeError(
                f"{name}: expected [B,F,3,H,W] with H and W multiples of {DOWNSAMPLING}, got {tuple(pixels.shape)}"
            )
        adapter: ConvAdapter = getattr(self, PUBLISHED_NAME[name])
        made = adapter(pixels.flatten(0, 1).to(adapter.scale.dtype))
        return made.unflatten(0, pixels.shape[:2])


def _zero(parameter: Tensor | None) -> None:
    if parameter is not None:
        nn.init.zeros_(parameter)
