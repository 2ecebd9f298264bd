"""LcvdModel: the published networks together, on one device and in one dtype; `load_lcvd` brings it from a folder.

It holds weights and no state of any clip, so one model serves many.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lcvd.adapters import Adapters
from lcvd.errors import ModelUnavailable
from lcvd.precond import Denoiser
from lcvd.vae import place_vae

DtypeName = Literal["float32", "float16", "bfloat16"]
DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}


@dataclass(frozen=True, slots=True, eq=False)
class LcvdModel:
    """Frozen networks, ready to be called."""

    denoiser: Denoiser
    adapters: Adapters
    vae: Any  # diffusers AutoencoderKL
    temporal_vae: Any | None  # diffusers AutoencoderKLTemporalDecoder, when its weights were there
    image_encoder: Any  # transformers CLIPVisionModelWithProjection
    clip_mean: tuple[float, float, float]
    clip_std: tuple[float, float, float]
    device: torch.device
    dtype: torch.dtype
    identity: str  # which weights: changes when any weight file does


def dtype_from_name(name: str | torch.dtype) -> torch.dtype:
    """torch dtype of "fp32", "bf16", "fp16" or their long names. Raises ValueError."""
    if isinstance(name, torch.dtype):
        return name
    if name not in DTYPES:
        raise ValueError(f"dtype: unknown name {name!r}; use {', '.join(DTYPES)}")
    return DTYPES[name]


def device_from_name(name: str | torch.device) -> torch.device:
    """torch device of "cpu", "cuda" or "cuda:1". Raises ModelUnavailable where there is no such device."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelUnavailable(f"device {name!r} is unknown", "use cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelUnavailable(
            f"device {name}: torch sees no such CUDA device", "use --device cpu, or install torch for CUDA"
        )
    return device


def load_lcvd(
    path: Path | str,  # the authors' folder, a converted one, or a name under the user's weights folder
    device: torch.device | str = "cpu",
    dtype: str | torch.dtype = "float32",
) -> LcvdModel:
    """Load and check every network. Raises WeightsError (files) or ModelUnavailable (device)."""
    from lcvd.weights import find_weights, load_part

    place, precision = device_from_name(device), dtype_from_name(dtype)
    found = find_weights(Path(path))
    unet = load_part(found, "unet", place, precision)
    temporal = load_part(found, "temporal_vae", place, torch.float32) if "temporal_vae" in found.parts else None
    mean, std = found.clip_normalisation()
    return LcvdModel(
        denoiser=Denoiser(unet),
        adapters=load_part(found, "adapters", place, precision),
        vae=place_vae(load_part(found, "vae", place, torch.float32), place, precision),
        temporal_vae=None if temporal is None else place_vae(temporal, place, precision),
        image_encoder=load_part(found, "image_encoder", place, precision),
        clip_mean=mean,
        clip_std=std,
        device=place,
        dtype=precision,
        identity=found.identity(),
    )
