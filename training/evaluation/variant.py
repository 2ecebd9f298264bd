"""A Variant says which conditions the network gets and how strongly it is guided, as the paper's ablations do.

An adapter is left out by zeroing its features in both branches of the guidance, as training drops it (a black picture
would still carry biases). CLIP's token, the masked reference latents and the micro-condition stay as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcvd.model import LcvdModel
from lcvd.networks.adapters import DOWNSAMPLING, Adapters, ConditionName
from lcvd.networks.schedule import SamplerName, few_step_sigmas
from lcvd.networks.vae import decode_batches, latents_from_rgb
from lcvd.sampling.pipeline import relight_frames
from lcvd.sampling.sampler import OnProgress
from training.evaluation.case import Case


@dataclass(frozen=True, slots=True)
class Variant:
    """Describes one row of a table."""

    omega: float
    shading: bool = True  # F_s
    reference: bool = True  # F_r

    @property
    def muted(self) -> tuple[ConditionName, ...]:
        """Returns the conditions whose features are zero."""
        given: Mapping[ConditionName, bool] = {"shading": self.shading, "reference": self.reference}
        return tuple(name for name, used in given.items() if not used)

    @property
    def title(self) -> str:
        """Returns F_r only, F_s only, both or neither, and ω."""
        names = {(): "both", ("shading",): "F_r only", ("reference",): "F_s only"}
        return f"{names.get(self.muted, 'neither')}, ω {self.omega:g}"


class MutedAdapters(Adapters):
    """Wraps adapters so that some of them return zero features."""

    def __init__(self, adapters: Adapters, muted: tuple[ConditionName, ...]) -> None:
        torch.nn.Module.__init__(self)
        self.light, self.ref, self.head = adapters.light, adapters.ref, adapters.head
        self.muted = muted

    def features(self, name: ConditionName, pixels: Tensor) -> Tensor:
        """Returns what `Adapters.features` does, but exact zeros for a muted condition."""
        if name not in self.muted:
            return super().features(name, pixels)
        batch, frames, _, height, width = pixels.shape
        channels = self.light.final_proj.out_channels
        return pixels.new_zeros(batch, frames, channels, height // DOWNSAMPLING, width // DOWNSAMPLING)


def relit(
    model: LcvdModel,
    case: Case,
    variant: Variant,
    *,
    steps: int,
    sampler: SamplerName = "euler",
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> NDArray[np.uint8]:
    """Returns [T,S,S,3]: the case relit by the offline pipeline with this variant; below 20 steps at the live levels.

    The same seed gives the same starting noise.
    """
    variant_model = replace(model, adapters=MutedAdapters(model.adapters, variant.muted)) if variant.muted else model
    frames = relight_frames(
        variant_model,
        case.reference,
        case.reference_hint,
        case.hints,
        case.reference_mask,
        steps=steps,
        omega=variant.omega,
        sampler=sampler,
        sigmas=few_step_sigmas(sampler, steps).tolist(),
        seed=seed,
        on_progress=on_progress,
    )
    return np.stack(list(frames))


@torch.inference_mode()
def through_vae(model: LcvdModel, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns pictures [T,S,S,3] encoded and decoded by the VAE, an upper bound for every denoiser."""
    out = []
    for picture in pictures:
        pixels = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None].to(model.device) / 127.5 - 1
        for decoded in decode_batches(model.vae, latents_from_rgb(model.vae, pixels)):
            out.append((decoded * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()[0])
    return np.stack(out)
