"""LcvdModel holds the published networks on one device and in one dtype; `load_lcvd` reads it from a folder.

It holds weights and no state of any clip, so one model serves many clips.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lcvd.errors import ModelUnavailable
from lcvd.networks.adapters import Adapters
from lcvd.networks.precond import Denoiser
from lcvd.networks.student import Student, staggered_of, student_of
from lcvd.networks.vae import place_vae

DtypeName = Literal["float32", "float16", "bfloat16"]
DecoderName = Literal["image", "tiny"]
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
    """The frozen networks of LCVD, ready to be called."""

    denoiser: Denoiser
    adapters: Adapters
    vae: Any  # diffusers AutoencoderKL
    temporal_vae: Any | None  # diffusers AutoencoderKLTemporalDecoder, when its weights were there
    image_encoder: Any  # transformers CLIPVisionModelWithProjection
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    device: torch.device
    dtype: torch.dtype
    identity: str  # of the weights: changes when any weight file does
    tiny_vae: Any | None = None  # diffusers AutoencoderTiny (TAESD), when its weights were there
    decoder: DecoderName = "image"  # what live pictures are decoded with
    student: Student | None = None  # of few steps, where the weights are one
    staggered: bool = False  # trained with a noise level a row

    @property
    def picture_vae(self) -> Any:
        """The VAE whose decoder makes live pictures; the encoder is always `vae`'s."""
        return self.tiny_vae if self.decoder == "tiny" else self.vae


def dtype_from_name(name: str | torch.dtype) -> torch.dtype:
    """Return the torch dtype of "fp32", "bf16", "fp16" or their long names. Raises ValueError."""
    if isinstance(name, torch.dtype):
        return name
    if name not in DTYPES:
        raise ValueError(f"dtype: unknown name {name!r}; use {', '.join(DTYPES)}")
    return DTYPES[name]


def device_from_name(name: str | torch.device) -> torch.device:
    """Return the torch device of "cpu", "cuda" or "cuda:1". Raises ModelUnavailable where there is no such device."""
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
    decoder: DecoderName = "image",  # "tiny": TAESD, some 50 times cheaper and a little softer
    taesd: Path | None = None,  # its folder, where that is not `taesd` beside the weights
) -> LcvdModel:
    """Load and check every network. Raises WeightsError (files), ModelUnavailable (device, decoder) or ValueError."""
    from lcvd.weights.load import TAESD_FOLDER, find_weights, load_part

    if decoder not in ("image", "tiny"):
        raise ValueError(f"decoder={decoder!r}: use image or tiny")
    place, precision = device_from_name(device), dtype_from_name(dtype)
    found = find_weights(Path(path), taesd=taesd)
    if decoder == "tiny" and "tiny_vae" not in found.parts:
        raise ModelUnavailable(
            f"decoder tiny: {found.root / TAESD_FOLDER} is not there",
            f"put madebyollin/taesd's config.json and diffusion_pytorch_model.safetensors into {TAESD_FOLDER}/",
        )
    tiny = load_part(found, "tiny_vae", place, torch.float32) if "tiny_vae" in found.parts else None
    unet = load_part(found, "unet", place, precision)
    temporal = load_part(found, "temporal_vae", place, torch.float32) if "temporal_vae" in found.parts else None
    mean, std = found.image_normalisation()
    return LcvdModel(
        denoiser=Denoiser(unet),
        adapters=load_part(found, "adapters", place, precision),
        vae=place_vae(load_part(found, "vae", place, torch.float32), place, precision),
        temporal_vae=None if temporal is None else place_vae(temporal, place, precision),
        image_encoder=load_part(found, "image_encoder", place, precision),
        image_mean=mean,
        image_std=std,
        device=place,
        dtype=precision,
        identity=found.identity(),
        tiny_vae=None if tiny is None else place_vae(tiny, place, precision),
        decoder=decoder,
        student=student_of(found.manifest),
        staggered=staggered_of(found.manifest),
    )
