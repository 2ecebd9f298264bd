"""Stable Video Diffusion's UNet from diffusers, itself, with one tensor added right after its `conv_in`.

The sum also reaches the first skip connection, hence the last up block, as in the published model. `conv_in` becomes a
`Conv2d` of the same parameter names that takes features as further input channels and adds them to its output: pure
data flow, no hook and no state, so that `torch.export` and `torch.compile` see an ordinary graph.
Traps: the attention heads are (5, 10, 20, 20), which no key or shape betrays; diffusers before 0.42 mixes the
temporal context of different batch items.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from diffusers.models import UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from lcvd.errors import ModelUnavailable, ShapeError

SVD_CHANNELS = (320, 640, 1280, 1280)
SVD_HEADS = (5, 10, 20, 20)
SVD_XT_CONFIG: dict[str, Any] = {
    "sample_size": 96,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
    "block_out_channels": list(SVD_CHANNELS),
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "transformer_layers_per_block": 1,
    "num_attention_heads": list(SVD_HEADS),
    "num_frames": 25,
}
_OLDEST_DIFFUSERS = (0, 42)


class ConvInWithFeatures(nn.Conv2d):
    """conv(x[:, :in_channels]) + x[:, in_channels:]; a plain convolution when there are no further channels."""

    def forward(
        self,
        x: Tensor,  # [N, in_channels + (0 or out_channels), h, w]
    ) -> Tensor:
        if x.shape[1] == self.in_channels:
            return super().forward(x)
        return super().forward(x[:, : self.in_channels]) + x[:, self.in_channels :]


class FeatureUNet(nn.Module):
    """UNetSpatioTemporalConditionModel whose forward takes the adapters' features. Weights live in `.svd`."""

    def __init__(self, svd: UNetSpatioTemporalConditionModel) -> None:
        super().__init__()
        old = svd.conv_in
        conv = ConvInWithFeatures(
            old.in_channels,
            old.out_channels,
            kernel_size=3,
            padding=1,
            device=old.weight.device,
            dtype=old.weight.dtype,
        )
        conv.weight, conv.bias = old.weight, old.bias
        svd.conv_in = conv
        self.svd = svd

    @property
    def feature_channels(self) -> int:
        """C of the features it takes."""
        return self.svd.conv_in.out_channels

    def forward(
        self,
        sample: Tensor,  # [B,F,8,h,w] scaled noisy latents | reference latents
        c_noise: Tensor,  # [B] 0.25 ln σ
        clip: Tensor,  # [B,1,D]
        ids: Tensor,  # [B,3] fps - 1, motion bucket, noise augmentation
        features: Tensor | None = None,  # [B,F,C,h,w]; None adds nothing
    ) -> Tensor:
        """The network's raw output v, [B,F,4,h,w]. Raises ShapeError."""
        if sample.ndim != 5 or sample.shape[2] != self.svd.conv_in.in_channels:
            raise ShapeError(f"sample: expected [B,F,{self.svd.conv_in.in_channels},h,w], got {tuple(sample.shape)}")
        if features is not None:
            wanted = (*sample.shape[:2], self.feature_channels, *sample.shape[3:])
            if tuple(features.shape) != wanted:
                raise ShapeError(f"features: expected {wanted}, got {tuple(features.shape)}")
            sample = torch.cat([sample, features], dim=2)
        return self.svd(sample, c_noise, clip, ids, return_dict=False)[0]


def unet_from_config(config: Mapping[str, Any]) -> FeatureUNet:
    """An untrained UNet of SVD's architecture. Build under `torch.device("meta")` for shapes alone.

    Raises ModelUnavailable when diffusers is too old, or when the configuration leaves the heads to a default.
    """
    installed = version("diffusers")
    if tuple(int(part) for part in installed.split(".")[:2]) < _OLDEST_DIFFUSERS:
        raise ModelUnavailable(
            f"diffusers {installed} mixes the temporal context of different batch items",
            "pip install 'diffusers>=0.42'",
        )
    channels = tuple(config.get("block_out_channels", ()))
    heads = config.get("num_attention_heads")
    if heads is None:
        raise ModelUnavailable("unet config: num_attention_heads is missing", "take unet/config.json of svd-xt")
    heads = (heads,) * len(channels) if isinstance(heads, int) else tuple(heads)
    if channels == SVD_CHANNELS and heads != SVD_HEADS:
        raise ModelUnavailable(
            f"unet config: num_attention_heads is {list(heads)}, but svd-xt was trained with {list(SVD_HEADS)}",
            "take unet/config.json of stabilityai/stable-video-diffusion-img2vid-xt",
        )
    svd = UNetSpatioTemporalConditionModel.from_config(dict(config))
    for level, block in enumerate(svd.down_blocks):
        for attention in getattr(block, "attentions", ()):
            built = attention.transformer_blocks[0].attn1.heads
            assert built == heads[level], f"down block {level}: {built} heads instead of {heads[level]}"
    return FeatureUNet(svd)
