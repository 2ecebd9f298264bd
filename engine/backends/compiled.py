"""The eager backend with UNet and decoder compiled by torch.compile: static shapes, CUDA graphs on a GPU.

Fused norms, activations and temporal mixing are where the speed is: eager moves some 200 GB of activations a forward
at 512 px. The first call of each shape compiles (minutes at full size); `warmup` is where that is spent.
"""

from typing import Any

import torch
from torch import Tensor

from engine.backends.eager import EagerBackend
from lcvd.model import LcvdModel
from lcvd.precond import Condition, Denoiser
from lcvd.vae import rgb_from_latents


class CompiledBackend(EagerBackend):
    """Backend (protocol). `compiler` is torch.compile's backend; "eager" only traces, for tests."""

    name = "compiled"

    def __init__(self, model: LcvdModel, compiler: str = "inductor") -> None:
        super().__init__(model)
        # CUDA graphs take the launches away: some 3000 kernels a forward.
        options: dict[str, Any] = {"mode": "reduce-overhead"} if self._graphs(compiler) else {}
        unet: Any = torch.compile(model.denoiser.unet, backend=compiler, dynamic=False, **options)
        self._denoiser = Denoiser(unet).eval()
        self._rgb = torch.compile(
            lambda latents: rgb_from_latents(model.vae, latents), backend=compiler, dynamic=False, **options
        )

    def _graphs(self, compiler: str) -> bool:
        return compiler == "inductor" and self.device.type == "cuda"

    def _v(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return super()._v(x, sigma, condition).clone()  # a graph's output lives in memory its next run overwrites

    def _decode(self, latents: Tensor) -> list[Tensor]:
        pictures = []
        for start in range(0, len(latents), self.chunk):  # one shape for every stride: the last chunk is filled up
            part = latents[start : start + self.chunk]
            filled = torch.cat([part, part[-1:].expand(self.chunk - len(part), -1, -1, -1)])
            torch.compiler.cudagraph_mark_step_begin()
            pictures.append(self._rgb(filled)[: len(part)].clone())
        return pictures
