"""A random model of some two million parameters in the published layout, so that all code runs without the weights.

The same files, formats and old attention names as the release, read by the very same loader; only the widths in the
configurations are small. It draws noise, not faces. The zero-initialised adapter projection is filled as well, so that
hints do have an effect.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lcvd.networks.image_encoder import MEAN, SIZE, STD
from lcvd.weights.load import OLD_ATTENTION, SVD_FOLDER, TAESD_FOLDER, VAE_FOLDER, PartName, build_part
from lcvd.weights.location import check_new_folder

WIDTH = 32  # GroupNorm has 32 groups: no width below, and multiples only
UNET = {
    "_class_name": "UNetSpatioTemporalConditionModel",
    "sample_size": 8,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "block_out_channels": [WIDTH, 2 * WIDTH],
    "addition_time_embed_dim": WIDTH,
    "projection_class_embeddings_input_dim": 3 * WIDTH,
    "layers_per_block": 1,
    "cross_attention_dim": WIDTH,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [2, 4],
    "num_frames": 16,
}
VAE = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [WIDTH] * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
TEMPORAL_VAE = {
    "_class_name": "AutoencoderKLTemporalDecoder",
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "block_out_channels": [WIDTH] * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
TAESD = {
    "_class_name": "AutoencoderTiny",
    "encoder_block_out_channels": [8] * 4,
    "decoder_block_out_channels": [8] * 4,
    "num_encoder_blocks": [1, 1, 1, 1],
    "num_decoder_blocks": [1, 1, 1, 1],
    "latent_channels": 4,
    "latent_magnitude": 3,
    "latent_shift": 0.5,
    "scaling_factor": 1.0,
}
IMAGE_ENCODER = {
    "model_type": "clip_vision_model",
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 32,
    "projection_dim": WIDTH,
    "hidden_act": "gelu",
}
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}
PREPROCESS = {
    "feature_extractor_type": "CLIPFeatureExtractor",
    "crop_size": {"height": SIZE, "width": SIZE},
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": list(MEAN),
    "image_std": list(STD),
    "resample": 3,
    "size": {"shortest_edge": SIZE},
}


def write_tiny(folder: Path, seed: int = 0, temporal: bool = False, taesd: bool = False) -> int:
    """Write the model; returns its number of parameters. The same seed writes the same values.

    Raises WeightsError when the folder holds something already.
    """
    check_new_folder(folder)
    svd = folder / SVD_FOLDER
    generator = torch.Generator().manual_seed(seed)
    counts = []

    def part(name: PartName, config: dict[str, Any]) -> dict[str, Tensor]:
        tensors = _random_state(build_part(name, config), generator)
        counts.append(sum(value.numel() for value in tensors.values()))
        return tensors

    folder.mkdir(parents=True, exist_ok=True)
    torch.save(part("unet", UNET), folder / "unet.pth")
    adapters = part("adapters", {"out_channels": WIDTH})
    for name in ("light", "ref", "head"):
        own = {key.removeprefix(f"{name}."): value for key, value in adapters.items() if key.startswith(f"{name}.")}
        torch.save(own, folder / f"{name}_embedder.pth")
    _write_json(svd / "unet" / "config.json", UNET)
    _write_json(svd / "scheduler" / "scheduler_config.json", SCHEDULER)
    _write_json(svd / "feature_extractor" / "preprocessor_config.json", PREPROCESS)
    _write_json(svd / "image_encoder" / "config.json", IMAGE_ENCODER)
    clip = {key: value.half() for key, value in part("image_encoder", IMAGE_ENCODER).items()}
    save_file(clip, svd / "image_encoder" / "model.fp16.safetensors")
    _write_json(svd / VAE_FOLDER / "config.json", VAE)
    old = {_old_attention(key): value for key, value in part("vae", VAE).items()}
    save_file(old, svd / VAE_FOLDER / "diffusion_pytorch_model.safetensors")
    if temporal:
        _write_json(svd / "vae" / "config.json", TEMPORAL_VAE)
        save_file(part("temporal_vae", TEMPORAL_VAE), svd / "vae" / "diffusion_pytorch_model.safetensors")
    if taesd:  # drawn last: the other parts have the same values with and without it
        _write_json(folder / TAESD_FOLDER / "config.json", TAESD)
        save_file(part("tiny_vae", TAESD), folder / TAESD_FOLDER / "diffusion_pytorch_model.safetensors")
    return sum(counts)


def _random_state(network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the values here, because the libraries' initialisers change between versions."""
    state: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        if value.ndim >= 2:
            # The adapters have no normalisation: SiLU keeps 0.36 of the power, so 2.8 keeps the hints' effect.
            gain = 2.8 if ".conv_layers." in key else 1.0
            spread = math.sqrt(gain / value[0].numel())
            state[key] = torch.randn(value.shape, generator=generator) * spread
        elif key.endswith("scale"):
            state[key] = torch.full(value.shape, 2.0)
        elif key.endswith("mix_factor"):
            state[key] = torch.full(value.shape, 0.5)
        elif key.endswith("weight"):
            state[key] = torch.ones(value.shape)  # the gains of normalisation layers
        else:
            state[key] = torch.randn(value.shape, generator=generator) * 0.05
    return state


def _old_attention(key: str) -> str:
    for old, new in OLD_ATTENTION.items():
        key = key.replace(new, old) if ".attentions." in key else key
    return key


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
