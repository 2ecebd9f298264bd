"""Stable Video Diffusion's UNet from diffusers, with one tensor added after its `conv_in` and a noise level per frame.

The sum also reaches the first skip connection, hence the last up block, as in the published model. Modules, parameters
and blocks are diffusers' own; only the walk through them is written here, because the stock one has room for neither:
it draws one time embedding a sequence and repeats it over the frames. Pure data flow, no hook and no state, so that
`torch.export` and `torch.compile` see an ordinary graph; a test binds it to the stock forward.
Traps: the attention heads are (5, 10, 20, 20), which no key or shape betrays; diffusers before 0.42 mixes the
temporal context of different batch items.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple, cast

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


class FeatureUNet(nn.Module):
    """UNetSpatioTemporalConditionModel whose forward takes the adapters' features. Weights live in `.svd`."""

    def __init__(self, svd: UNetSpatioTemporalConditionModel) -> None:
        super().__init__()
        self.svd = svd

    @property
    def feature_channels(self) -> int:
        """C of the features it takes."""
        return self.svd.conv_in.out_channels

    def forward(
        self,
        sample: Tensor,  # [B,F,8,h,w] scaled noisy latents | reference latents
        c_noise: Tensor,  # [B] 0.25 ln σ; [B,F] where every frame has its own
        image_embedding: Tensor,  # [B,1,D]
        ids: Tensor,  # [B,3] fps - 1, motion bucket, noise augmentation
        features: Tensor | None = None,  # [B,F,C,h,w]; None adds nothing
    ) -> Tensor:
        """Return the network's raw output v, [B,F,4,h,w]. Raises ShapeError."""
        svd = self.svd
        self._check(sample, c_noise, features)
        batch, frames = sample.shape[:2]
        x, skips, inputs = self._down(sample, c_noise, image_embedding, ids, features)
        for block in svd.up_blocks:
            taken = len(skips) - len(cast(nn.ModuleList, block.resnets))
            skips, own = skips[:taken], tuple(skips[taken:])
            # The next block's own size, and not twice this one's: sides need not be multiples of 2^levels.
            size = tuple(skips[-1].shape[2:]) if skips else None
            x = _through(block, x, inputs, res_hidden_states_tuple=own, upsample_size=size)
        v = svd.conv_out(svd.conv_act(svd.conv_norm_out(x)))
        return v.unflatten(0, (batch, frames))

    def encoded(
        self,
        sample: Tensor,  # as in `forward`
        c_noise: Tensor,
        image_embedding: Tensor,
        ids: Tensor,
        features: Tensor | None = None,
    ) -> list[Tensor]:
        """Return what each down block and the middle block give, [B,F,C_i,h_i,w_i]. Raises ShapeError."""
        self._check(sample, c_noise, features)
        levels: list[Tensor] = []
        self._down(sample, c_noise, image_embedding, ids, features, levels)
        return [level.unflatten(0, sample.shape[:2]) for level in levels]

    def _down(
        self,
        sample: Tensor,
        c_noise: Tensor,
        image_embedding: Tensor,
        ids: Tensor,
        features: Tensor | None,
        levels: list[Tensor] | None = None,
    ) -> "tuple[Tensor, list[Tensor], _BlockInputs]":
        """Walk down and through the middle: the middle's output, all skips, the blocks' inputs.

        `levels`, where given, gets each block's output; else nothing outlives its last use.
        """
        svd = self.svd
        batch, frames = sample.shape[:2]
        inputs = _BlockInputs(
            self._embedding(c_noise, ids, frames, sample.dtype),
            image_embedding.repeat_interleave(frames, dim=0),
            torch.zeros(batch, frames, dtype=sample.dtype, device=sample.device),
        )
        x = svd.conv_in(sample.flatten(0, 1))
        if features is not None:
            x = x + features.flatten(0, 1)
        skips = [x]
        for block in svd.down_blocks:
            x, passed = _through(block, x, inputs)
            skips += passed
            if levels is not None:
                levels.append(x)
        x = _through(svd.mid_block, x, inputs)
        if levels is not None:
            levels.append(x)
        return x, skips, inputs

    def _embedding(self, c_noise: Tensor, ids: Tensor, frames: int, dtype: torch.dtype) -> Tensor:
        """Time and micro-condition of every frame, [B·F,E]."""
        svd, batch = self.svd, len(ids)
        # Sines are float32 whatever the network's dtype is; the layers behind them are not.
        time = svd.time_embedding(svd.time_proj(c_noise.flatten()).to(dtype))
        micro = svd.add_embedding(svd.add_time_proj(ids.flatten()).reshape(batch, -1).to(dtype))
        embedding = time.reshape(batch, -1, time.shape[-1]) + micro[:, None]
        return embedding.expand(-1, frames, -1).flatten(0, 1)

    def _check(self, sample: Tensor, c_noise: Tensor, features: Tensor | None) -> None:
        if sample.ndim != 5 or sample.shape[2] != self.svd.conv_in.in_channels:
            raise ShapeError(f"sample: expected [B,F,{self.svd.conv_in.in_channels},h,w], got {tuple(sample.shape)}")
        batch, frames, _, *size = sample.shape
        if tuple(c_noise.shape) not in ((batch,), (batch, frames)):
            raise ShapeError(f"c_noise: expected ({batch},) or ({batch}, {frames}), got {tuple(c_noise.shape)}")
        if features is not None and tuple(features.shape) != (batch, frames, self.feature_channels, *size):
            wanted = (batch, frames, self.feature_channels, *size)
            raise ShapeError(f"features: expected {wanted}, got {tuple(features.shape)}")


class _BlockInputs(NamedTuple):
    """Holds what every block gets besides the picture."""

    embedding: Tensor  # [B·F,E] time and micro-condition
    context: Tensor  # [B·F,1,D] CLIP's token
    images: Tensor  # [B,F] of zeros: no frame is a still image


def _through(block: nn.Module, x: Tensor, inputs: _BlockInputs, **more: Any) -> Any:
    if getattr(block, "has_cross_attention", False):
        more["encoder_hidden_states"] = inputs.context
    return block(hidden_states=x, temb=inputs.embedding, image_only_indicator=inputs.images, **more)


def unet_from_config(config: Mapping[str, Any]) -> FeatureUNet:
    """Build an untrained UNet of SVD's architecture; under `torch.device("meta")` for shapes alone.

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
