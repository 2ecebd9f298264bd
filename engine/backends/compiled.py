"""The eager backend, its UNet, shading adapter and decoder compiled: static shapes, CUDA graphs on a GPU.

Fused norms, activations and temporal mixing are where the speed is: eager moves some 200 GB of activations a forward
at 512 px. The first call of each shape compiles (minutes at full size); `warmup` is where that is spent. CUDA graphs
belong to the thread that recorded them (pytorch #123177), so every call has to come from one thread. CLIP, the VAE's
encoder and the reference's adapter run once for a portrait and stay eager: compiling costs more than it gives back.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.backends.eager import EagerBackend
from lcvd.model import LcvdModel
from lcvd.networks.adapters import ConditionName
from lcvd.networks.precond import Condition, Denoiser
from lcvd.networks.vae import rgb_from_latents

Compiler = str | Callable[..., Any]


class CompiledBackend(EagerBackend):
    """Backend (protocol). `compiler` is torch.compile's backend; "eager" only traces, for tests."""

    name = "compiled"
    frames_per_run = 2  # divides every stride (4, 8, 10): one shape, and nothing decoded only to fill a batch up

    def __init__(self, model: LcvdModel, compiler: Compiler = "inductor") -> None:
        super().__init__(model)
        # CUDA graphs take the launches away: some 3000 kernels a forward.
        options: dict[str, Any] = {"mode": "reduce-overhead"} if self._graphs(compiler) else {}

        def compiled(function: Any) -> Any:
            return torch.compile(function, backend=compiler, dynamic=False, **options)

        self._denoiser = Denoiser(compiled(model.denoiser.unet)).eval()
        self._rgb = compiled(lambda latents: rgb_from_latents(model.picture_vae, latents))
        self._shading = compiled(model.adapters.light)

    def _graphs(self, compiler: Compiler) -> bool:
        return compiler == "inductor" and self.device.type == "cuda"

    def _v(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        if sigma.ndim == 1:  # a level for every frame, as the staggered mode has: one graph for both
            sigma = sigma[:, None].expand(-1, x.shape[1])
        torch.compiler.cudagraph_mark_step_begin()
        return super()._v(x, sigma, condition).clone()  # a graph's output lives in memory its next run overwrites

    def _features(self, name: ConditionName, pixels: Tensor) -> Tensor:
        if name != "shading":
            return super()._features(name, pixels)
        return torch.cat(self._chunks(self._shading, pixels))

    def _decode(self, latents: Tensor) -> list[Tensor]:
        return self._chunks(self._rgb, latents)

    def _chunks(self, function: Any, rows: Tensor) -> list[Tensor]:
        """Run `function` on `frames_per_run` rows at a time; a last odd row is filled up, so there is one shape."""
        made = []
        for start in range(0, len(rows), self.frames_per_run):
            part = rows[start : start + self.frames_per_run]
            filled = torch.cat([part, part[-1:].expand(self.frames_per_run - len(part), -1, -1, -1)])
            torch.compiler.cudagraph_mark_step_begin()
            made.append(function(filled)[: len(part)].clone())
        return made
