"""Floating-point operations of LCVD's stages, counted by torch's flop counter on shapes alone (meta device).

A multiplication and an addition are two operations. Convolutions, linear layers and attention are counted;
normalisations and activations are not: they cost memory traffic and hardly arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from lcvd.networks.precond import Condition, micro_condition
from lcvd.random_model import ModelScale, random_lcvd

# Dense bf16 rates in TFLOP/s: measured as 8192³ products where one was at hand, else the maker's figure.
CHIPS_TFLOPS = {"H200": 790.0, "H100": 798.0, "L40S": 362.0, "RTX 4090": 165.0}


@dataclass(frozen=True, slots=True)
class StageFlops:
    """Operations of one call each, at one size."""

    forward: tuple[float, float]  # of the UNet over a window: one branch, both
    decode: float  # a frame
    encode: float  # a portrait
    features: float  # of a frame's hint
    clip: float  # a portrait

    def window(self, steps: int, branches: int, hop: int) -> float:
        """Operations of one window of `hop` new frames; what is done once for a portrait is left out."""
        return steps * self.forward[branches - 1] + hop * (self.decode + self.features)


@cache
def stage_flops(size: int = 512, frames: int = 16, scale: ModelScale = "full") -> StageFlops:
    """Counted at `size` px and windows of `frames`."""
    model = random_lcvd(scale, "meta")
    side = size // 8

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device="meta")

    def forward(batch: int) -> float:
        dim = model.image_encoder.config.projection_dim
        condition = Condition(
            empty(batch, frames, model.denoiser.unet.feature_channels, side, side),
            empty(batch, 1, dim),
            empty(batch, frames, 4, side, side),
            micro_condition(batch, device="meta"),
        )
        return _counted(lambda: model.denoiser(empty(batch, frames, 4, side, side), empty(batch), condition))

    return StageFlops(
        forward=(forward(1), forward(2)),
        decode=_counted(lambda: model.vae.decode(empty(1, 4, side, side))),
        encode=_counted(lambda: model.vae.encode(empty(1, 3, size, size))),
        features=_counted(lambda: model.adapters.features("shading", empty(1, 1, 3, size, size))),
        clip=_counted(lambda: model.image_encoder(empty(1, 3, 224, 224))),
    )


def _counted(call: Callable[[], object]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())
