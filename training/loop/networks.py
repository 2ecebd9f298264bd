"""The networks of a run come from published weights, an SVD folder or a configuration; TrainableModel trains them.

All are float32 (accelerate and FrozenEncoder mix the precision); VAE and CLIP are frozen. `TrainableModel` is the one
module that DDP, FSDP or DeepSpeed wrap: its forward is the loss.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lcvd.errors import WeightsError
from lcvd.model import LcvdModel
from lcvd.networks.adapters import PUBLISHED_NAME, Adapters, ConditionName
from lcvd.networks.image_encoder import MEAN, STD
from lcvd.networks.precond import Condition, Denoiser
from lcvd.networks.unet import FeatureUNet
from lcvd.networks.vae import place_vae
from lcvd.weights.load import (
    MANIFEST,
    VAE_FOLDER,
    FoundWeights,
    PartFiles,
    PartName,
    TensorFile,
    build_part,
    find_weights,
    load_part,
    read_json,
)
from training.config import ModelConfig, PartSource, TrainConfig
from training.data.batch import Batch
from training.errors import ConfigError
from training.loop.ema import Ema

_FILES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
PARTS: tuple[PartName, ...] = ("unet", "adapters", "vae", "image_encoder")
CONDITIONS: tuple[ConditionName, ...] = ("shading", "reference")  # of training clips
Networks = dict[PartName, Any]  # FeatureUNet, Adapters, AutoencoderKL, CLIPVisionModelWithProjection


class TrainableModel(nn.Module):
    """Wraps UNet and adapters for training; forward(batch) returns the loss of every sequence."""

    terms: tuple[str, ...] = ("ldm", "portrait")  # of the loss, in the order of forward's columns

    def __init__(self, unet: FeatureUNet, adapters: Adapters, region: Literal["portrait", "background"]) -> None:
        super().__init__()
        self.denoiser = Denoiser(unet)
        self.adapters = adapters
        self.region = region

    def use_average(self, ema: Ema | None) -> None:
        """Receives the run's average once, before training; the plain loss does not use it."""

    def forward(self, batch: Batch) -> Tensor:
        """Returns [B,2]: L_LDM and L_p of each sequence (Eqs. 4–5), float32."""
        return self.denoiser.losses(
            batch.target, batch.noise, batch.sigma, self.condition(batch), batch.portrait, self.region, batch.rows
        )

    def condition(self, batch: Batch) -> Condition:
        """Returns the UNet's condition, with features computed by the adapters under training.

        An adapter whose condition every sequence drops does not run: on a CPU the two take half of the forward time.
        """
        given = {"shading": batch.shading, "reference": batch.reference}
        idle = [name for name in CONDITIONS if not any(getattr(mask, name) for mask in batch.condition_masks)]
        features = self.adapters(**given | dict.fromkeys(idle), keep=batch.keep)
        if features is not None:  # features of the reference alone are the same for all frames
            features = features.expand(-1, batch.target.shape[1], -1, -1, -1)
        return Condition(self._with_idle(features, idle, batch), batch.clip, batch.latents, batch.ids)

    def _with_idle(self, features: Tensor | None, idle: list[ConditionName], batch: Batch) -> Tensor | None:
        """Adds zero times the weights that did not run, so that their gradient is zero and not absent.

        The optimizer and DDP expect a gradient for every weight.
        """
        adapters = [getattr(self.adapters, PUBLISHED_NAME[name]) for name in idle]
        weights = [value for adapter in adapters for value in adapter.parameters() if value.requires_grad]
        if not weights or not torch.is_grad_enabled():
            return features
        zero = 0.0 * torch.stack([value.sum() for value in weights]).sum()
        if features is None:
            b, f, _, h, w = batch.target.shape
            features = zero.new_zeros(b, f, self.denoiser.unet.feature_channels, h, w)
        return features + zero


def load_networks(config: ModelConfig, device: torch.device, seed: int) -> tuple[Networks, LcvdModel]:
    """Loads all parts on `device`, float32 and frozen, and returns them with a model of the same networks.

    The frozen parts are float32 for every precision of the run, because they are exported as they came. Raises
    WeightsError.
    """
    parts: Networks = {}
    mean, std = MEAN, STD
    if config.source == "weights":
        assert config.path is not None
        found = find_weights(config.path)
        mean, std = found.image_normalisation()
        for name in PARTS:
            parts[name] = load_part(found, name, device, torch.float32)
    else:
        sources = _svd_sources(config.path) if config.source == "svd" and config.path else _fresh_sources(config)
        for number, name in enumerate(PARTS):
            parts[name] = _part(name, sources.get(name), parts, device, seed + number)
    for name in PARTS:
        parts[name].float()
    place_vae(parts["vae"], device, torch.float32)
    model = LcvdModel(
        denoiser=Denoiser(parts["unet"]),
        adapters=parts["adapters"],
        vae=parts["vae"],
        temporal_vae=None,
        image_encoder=parts["image_encoder"],
        image_mean=mean,
        image_std=std,
        device=device,
        dtype=torch.float32,
        identity="training",
    )
    return parts, model


def disable_adapters(adapters: Adapters, conditions: Sequence[ConditionName]) -> None:
    """Zeroes the output of adapters whose condition this run never gives, so that the exported weights ignore it."""
    for name in CONDITIONS:
        if name not in conditions:
            projection = getattr(adapters, PUBLISHED_NAME[name]).final_proj
            for value in projection.parameters():
                nn.init.zeros_(value)


def choose_trained(trainable: TrainableModel, config: TrainConfig) -> list[tuple[str, nn.Parameter]]:
    """Unfreezes config.parts; returns the trained parameters under their names in `trainable`. Raises ConfigError."""
    trainable.requires_grad_(False)
    for name, parameter in trainable.named_parameters():
        parameter.requires_grad_(any(_belongs(name, part) for part in config.parts))
    trained = [(name, value) for name, value in trainable.named_parameters() if value.requires_grad]
    if not trained:
        raise ConfigError(f"parts {list(config.parts)}: this model has no such weights", "name unet, light or ref")
    if config.gradient_checkpointing:
        trainable.denoiser.unet.svd.enable_gradient_checkpointing()
    trainable.train()
    return trained


def _belongs(name: str, part: str) -> bool:
    if part == "unet":
        return name.startswith("denoiser.")
    if part == "temporal":
        return name.startswith("denoiser.") and ("temporal" in name or "time_mixer" in name or "time_pos" in name)
    return name.startswith(f"adapters.{part}.")


def _svd_sources(path: Path) -> dict[PartName, PartSource]:
    """Returns the parts of a Stable Video Diffusion folder; adapters are initialised as in the paper."""
    return {
        "unet": PartSource(path=path / "unet"),
        "vae": PartSource(path=path / VAE_FOLDER),
        "image_encoder": PartSource(path=path / "image_encoder"),
    }


def _fresh_sources(config: ModelConfig) -> dict[PartName, PartSource]:
    given = {name: getattr(config, name) for name in PARTS}
    return {name: source for name, source in given.items() if source is not None}


def _part(name: PartName, source: PartSource | None, before: Networks, device: torch.device, seed: int) -> Any:
    if source is not None and source.path is not None:
        return load_part(_found(name, source.path), name, device, torch.float32)
    given = source.config if source is not None and source.config is not None else {}
    if name == "adapters" and not given:
        given = {"out_channels": before["unet"].feature_channels}
    # The libraries' own initialisation, from a seed of this part alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = build_part(name, given)
    network = network.to(device).eval().requires_grad_(False)
    return FeatureUNet(network) if name == "unet" else network


def _found(name: PartName, path: Path) -> FoundWeights:
    """Finds a part's weights: one network as its library saved it, or a whole model of ours. Raises WeightsError."""
    if (path / MANIFEST).exists() or (path / "unet.pth").exists() or not path.exists():
        return find_weights(path)
    file = next((path / each for each in _FILES if (path / each).is_file()), None)
    if file is None:
        raise WeightsError(f"{path}: none of {', '.join(_FILES)} is there", "name the folder of the network's weights")
    return FoundWeights(path, "published", {name: PartFiles(read_json(path / "config.json"), (TensorFile(file),))})


def part_configs(parts: Networks) -> Iterator[tuple[PartName, dict[str, Any]]]:
    """Yields each part's configuration as its library would save it."""
    for name, network in parts.items():
        if name == "adapters":
            yield name, {"out_channels": network.light.final_proj.out_channels}
        elif name == "image_encoder":
            yield name, network.config.to_dict()
        else:
            config = network.svd.config if name == "unet" else network.config
            yield name, {key: value for key, value in dict(config).items() if not key.startswith("_")}
