"""The eager backend with UNet, decoder and shading adapter replaced by plans: onnxruntime, TensorRT, torch-tensorrt.

Plans are built beforehand (`relight engine build`) and only looked up here. One that is missing is named with the
command that builds it; one that does not match is refused with the field that differs, or both are built on demand.
CLIP, the VAE's encoder and the reference's features run once for a portrait and stay eager.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.backends.build import BuildRequest, build_command, build_plans
from engine.backends.eager import EagerBackend
from engine.backends.networks import (
    FRAMES_PER_RUN,
    UNET_INPUTS,
    decoder_name,
    decoder_shapes,
    shading_shapes,
    unet_shapes,
)
from engine.backends.plans import PlanMismatch, PlanMissing, PlanStore
from engine.backends.runtime import Runner, Runtime, dtype_word, plan_key
from lcvd.model import LcvdModel
from lcvd.networks.adapters import ConditionName
from lcvd.networks.precond import Denoiser
from lcvd.networks.unet import FeatureUNet

_OUTPUTS = {"unet": "v", "decoder": "rgb", "decoder-tiny": "rgb", "shading": "features"}


class PlannedBackend(EagerBackend):
    """Backend (protocol). `rebuild` builds at warm-up what is missing or does not match: minutes at full size."""

    frames_per_run = FRAMES_PER_RUN

    def __init__(
        self,
        model: LcvdModel,
        runtime: Runtime,
        store: PlanStore,
        precision: str | None = None,  # None: the model's own
        rebuild: bool = False,
        weights: Path | str = "NAME",  # only to name the build command
    ) -> None:
        super().__init__(model)
        self.name = runtime.name
        self.precision = precision or dtype_word(model.dtype)
        self._runtime, self._store, self._rebuild, self._weights = runtime, store, rebuild, weights
        self._runners: dict[tuple[object, ...], Runner] = {}
        self._wanted = BuildRequest(precision=self.precision)
        self._denoiser = Denoiser(_PlannedUNet(self, model.denoiser.unet))  # type: ignore[arg-type]

    def warmup(self, size: int, frames: int, branches: Sequence[int], batches: Sequence[int]) -> None:
        """Load every plan the shapes need, building them first where that is allowed, and run each once."""
        self._wanted = BuildRequest(size, frames, tuple(branches), max(batches), self.precision)
        if self._rebuild:
            build_plans(self.model, self._runtime, self._store, self._wanted)
        super().warmup(size, frames, branches, batches)

    def runner(self, module: str, inputs: tuple[tuple[str, tuple[int, ...]], ...]) -> Runner:
        """Return the runner of `module` at these shapes. Raises PlanMissing or PlanMismatch with the build command."""
        place = (module, inputs)
        if place not in self._runners:
            key = plan_key(self.model, self._runtime.name, self._runtime.version(), module, inputs, self.precision)
            try:
                plan = self._store.find(key)
            except (PlanMissing, PlanMismatch) as error:
                wanted = self._wanted
                command = build_command(
                    self.name,
                    self.precision,
                    wanted.size,
                    wanted.branches,
                    wanted.batch,
                    self._weights,
                    self.model.decoder,
                )
                raise type(error)(error.message, command) from None
            self._runners[place] = self._runtime.load(plan.folder, _OUTPUTS[module])
        return self._runners[place]

    def _features(self, name: ConditionName, pixels: Tensor) -> Tensor:
        if name != "shading":
            return super()._features(name, pixels)
        run = self.runner("shading", shading_shapes(pixels.shape[-1]))
        return torch.cat([run({"pixels": filled})[:n].clone() for filled, n in self._filled(pixels)])

    def _decode(self, latents: Tensor) -> list[Tensor]:
        run = self.runner(decoder_name(self.model), decoder_shapes(latents.shape[-1] * 8))
        return [run({"latents": filled})[:n].clone() for filled, n in self._filled(latents)]

    def _filled(self, rows: Tensor) -> list[tuple[Tensor, int]]:
        """Split into `frames_per_run` rows at a time, the last ones filled up, each with how many of it count."""
        parts = []
        for start in range(0, len(rows), self.frames_per_run):
            part = rows[start : start + self.frames_per_run]
            parts.append((torch.cat([part, part[-1:].expand(self.frames_per_run - len(part), -1, -1, -1)]), len(part)))
        return parts


class _PlannedUNet(nn.Module):
    """FeatureUNet's signature, answered by the plan of the batch size that comes."""

    def __init__(self, backend: PlannedBackend, unet: FeatureUNet) -> None:
        super().__init__()
        self.svd = unet.svd  # the denoiser asks it for its dtype
        self._backend = backend

    def forward(self, sample: Tensor, c_noise: Tensor, clip: Tensor, ids: Tensor, features: Tensor) -> Tensor:
        rows, frames = sample.shape[:2]
        run = self._backend.runner("unet", unet_shapes(self._backend.model, rows, frames, sample.shape[-1] * 8))
        levels = c_noise if c_noise.ndim == 2 else c_noise[:, None].expand(rows, frames)
        values = (sample, levels.contiguous(), clip, ids, features)
        return run(dict(zip(UNET_INPUTS, values, strict=True))).clone()
