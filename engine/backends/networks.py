"""The networks a plan is made of, cut out of the model: an nn.Module, static input shapes, and windows to verify it on.

unet: v of B rows (branches × requests) of F frames. decoder: latents [n,4,h,w] → pictures in [0,1]. shading: pixels
[n,3,S,S] → features. The UNet takes a level for every frame, so that one plan serves both sampler modes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.backends.eager import EagerBackend
from engine.protocols import DenoiseRequest
from lcvd.model import LcvdModel
from lcvd.networks.precond import Denoiser
from lcvd.networks.unet import FeatureUNet
from lcvd.networks.vae import rgb_from_latents

UNET_INPUTS = ("sample", "c_noise", "clip", "ids", "features")
FRAMES_PER_RUN = 2  # pictures at once; divides every stride (4, 8, 10)
LEVELS = (0.05, 2.5, 300.0)  # σ of the windows compared: nearly clean, the middle, nearly noise
SEED = 0

Case = dict[str, Tensor]
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """One network at one static shape."""

    name: str
    module: nn.Module  # takes the inputs in their order
    shapes: Shapes
    output: str
    cases: Callable[[], list[Case]]  # the same at every call


def unet_network(model: LcvdModel, rows: int, frames: int, size: int) -> Network:
    """The UNet on `rows` windows of `frames` at `size` px."""
    unet = model.denoiser.unet
    return Network(
        "unet", unet, unet_shapes(model, rows, frames, size), "v", lambda: _unet_cases(model, rows, frames, size)
    )


def unet_shapes(model: LcvdModel, rows: int, frames: int, size: int) -> Shapes:
    """Names and shapes of the UNet's inputs."""
    unet, side = model.denoiser.unet, size // 8
    shapes = (
        (rows, frames, unet.svd.conv_in.in_channels, side, side),
        (rows, frames),
        (rows, 1, int(model.image_encoder.config.projection_dim)),
        (rows, 3),
        (rows, frames, unet.feature_channels, side, side),
    )
    return tuple(zip(UNET_INPUTS, shapes, strict=True))


class Decoder(nn.Module):
    """Latents → pictures in [0,1], float32, as the eager backend decodes them."""

    def __init__(self, model: LcvdModel) -> None:
        super().__init__()
        self.vae = model.picture_vae

    def forward(self, latents: Tensor) -> Tensor:
        return rgb_from_latents(self.vae, latents)


def decoder_network(model: LcvdModel, size: int) -> Network:
    """The decoder of live pictures on FRAMES_PER_RUN latents."""

    def cases() -> list[Case]:
        latents = torch.randn(FRAMES_PER_RUN, 4, size // 8, size // 8, generator=_generator())
        return [{"latents": latents.to(model.device)}]

    return Network(decoder_name(model), Decoder(model), decoder_shapes(size), "rgb", cases)


def decoder_name(model: LcvdModel) -> str:
    """decoder, or decoder-tiny: their plans lie side by side."""
    return "decoder" if model.decoder == "image" else f"decoder-{model.decoder}"


def decoder_shapes(size: int) -> Shapes:
    """Name and shape of the decoder's input."""
    return (("latents", (FRAMES_PER_RUN, 4, size // 8, size // 8)),)


def shading_network(model: LcvdModel, size: int) -> Network:
    """The shading adapter on FRAMES_PER_RUN hints."""

    def cases() -> list[Case]:
        return [{"pixels": (_pictures(FRAMES_PER_RUN, size) / 255.0).to(model.device, model.dtype)}]

    return Network("shading", model.adapters.light, shading_shapes(size), "features", cases)


def shading_shapes(size: int) -> Shapes:
    """Name and shape of the adapter's input."""
    return (("pixels", (FRAMES_PER_RUN, 3, size, size)),)


class _Recorder(nn.Module):
    """Stands in for the UNet and keeps what it was given."""

    def __init__(self, unet: FeatureUNet) -> None:
        super().__init__()
        self.svd = unet.svd
        self.inputs: tuple[Tensor, ...] = ()

    def forward(self, *inputs: Tensor) -> Tensor:
        self.inputs = inputs
        return inputs[0][:, :, :4]


class _RecordingBackend(EagerBackend):
    """Eager, with a UNet that only listens: what it hears is what a plan will be given."""

    def __init__(self, model: LcvdModel) -> None:
        super().__init__(model)
        self.recorder = _Recorder(model.denoiser.unet)
        self._denoiser = Denoiser(self.recorder)  # type: ignore[arg-type]


def _unet_cases(model: LcvdModel, rows: int, frames: int, size: int) -> list[Case]:
    backend = _RecordingBackend(model)
    generator = _generator()
    branches = 2 if rows % 2 == 0 else 1
    pictures = _pictures(frames + 1, size).permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
    mask = np.linspace(0, 1, size, dtype=np.float32)[None].repeat(size, 0)
    cases = []
    with torch.inference_mode():
        reference = backend.encode(pictures[0], mask, torch.randn(1, 3, size, size, generator=generator))
        features = backend.features(pictures[1:])
        for sigma in LEVELS:
            noise = torch.randn(rows // branches, frames, 4, size // 8, size // 8, generator=generator)
            x = (noise * (sigma**2 + 1) ** 0.5).to(model.device)
            backend.denoise([DenoiseRequest(each, np.full(frames, sigma), reference, features, branches) for each in x])
            # A copy made outside inference mode: exporting may not touch inference tensors.
            cases.append(dict(zip(UNET_INPUTS, backend.recorder.inputs, strict=True)))
    return [{name: value.clone() for name, value in case.items()} for case in cases]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def _pictures(count: int, size: int) -> Tensor:
    """Smooth coloured pictures [count,3,size,size] in 0 … 255: networks meet shapes, not static."""
    coarse = torch.rand(count, 3, 8, 8, generator=_generator())
    return 255.0 * nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
