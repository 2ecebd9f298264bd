"""LCVD with random weights in memory, at the published size or a tiny one: speed does not depend on the values.

`relight bench` measures it where no weights are at hand: it needs no file and no download, and takes 4.7 GB in half
precision at full size. Values are drawn on the device itself, so a GPU machine is ready in seconds.
"""

import math
from typing import Any, Literal

import torch
from torch import nn

from lcvd.model import LcvdModel, device_from_name, dtype_from_name
from lcvd.networks.image_encoder import MEAN, STD
from lcvd.networks.precond import Denoiser
from lcvd.networks.unet import SVD_XT_CONFIG, FeatureUNet
from lcvd.networks.vae import place_vae
from lcvd.weights import tiny as weights_tiny
from lcvd.weights.load import PartName, build_part

ModelScale = Literal["full", "tiny"]

# stabilityai/sd-vae-ft-mse and the ViT-H/14 of stable-video-diffusion-img2vid-xt
VAE_CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
IMAGE_ENCODER_CONFIG: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}


def configs(scale: ModelScale) -> dict[PartName, dict[str, Any]]:
    """Return the configuration of every part. Raises ValueError for an unknown scale."""
    if scale == "full":
        unet, vae, clip = SVD_XT_CONFIG, VAE_CONFIG, IMAGE_ENCODER_CONFIG
    elif scale == "tiny":
        unet, vae, clip = weights_tiny.UNET, weights_tiny.VAE, weights_tiny.IMAGE_ENCODER
    else:
        raise ValueError(f"scale={scale!r}: use full or tiny")
    return {
        "unet": unet,
        "adapters": {"out_channels": unet["block_out_channels"][0]},
        "vae": vae,
        "image_encoder": clip,
    }


def random_lcvd(
    scale: ModelScale = "full",
    device: torch.device | str = "cpu",
    dtype: str | torch.dtype = "float32",
    seed: int = 0,
) -> LcvdModel:
    """Make frozen networks with random values; on the meta device without any. Raises ModelUnavailable (device)."""
    place = torch.device("meta") if str(device) == "meta" else device_from_name(device)
    precision = dtype_from_name(dtype)
    generator = None if place.type == "meta" else torch.Generator(place).manual_seed(seed)
    made = {}
    for name, config in configs(scale).items():
        with torch.device("meta"):
            network: Any = build_part(name, config)
        # nn.Module's own `to`, because diffusers' warns about casts after loading. The device context alone is not
        # enough: mix_factor is made by the legacy constructor, which ignores it.
        network = nn.Module.to(network, dtype=torch.float32 if name == "vae" else precision, device="meta")
        if place.type != "meta":
            network = network.to_empty(device=place)
            _fill(network, generator)
        if name == "image_encoder":
            embeddings: Any = network.get_submodule("vision_model.embeddings")
            embeddings.position_ids = torch.arange(embeddings.position_ids.shape[-1], device=place)[None]
        made[name] = network.eval().requires_grad_(False)
    return LcvdModel(
        denoiser=Denoiser(FeatureUNet(made["unet"])).eval(),
        adapters=made["adapters"],
        vae=place_vae(made["vae"], place, precision),
        temporal_vae=None,
        image_encoder=made["image_encoder"],
        image_mean=MEAN,
        image_std=STD,
        device=place,
        dtype=precision,
        identity=f"random-{scale}-{seed}",
    )


def _fill(network: nn.Module, generator: torch.Generator | None) -> None:
    """Draw values whose activations neither vanish nor overflow in half precision, so timings are realistic."""
    for name, value in network.named_parameters():
        if value.ndim >= 2:
            nn.init.normal_(value, std=math.sqrt(1.0 / value[0].numel()), generator=generator)
        elif name.endswith("mix_factor"):
            nn.init.constant_(value, 0.5)
        elif name.endswith(("weight", "scale")):
            nn.init.ones_(value)
        else:
            nn.init.zeros_(value)
