"""Measures the cost model of `engine.diffusion.latency` on this device: the backend's stages, timed alone."""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from engine.diffusion.latency import CostModel
from engine.diffusion.window import WINDOW
from engine.protocols import Backend, DenoiseRequest

CALLS = 3  # of each stage, the median counts: the first after a warm-up may still be odd
FRAMES = 4  # decoded at a time: what every stride is made of


@torch.inference_mode()
def measure_cost_model(backend: Backend, size: int, clock: Callable[[], float] = time.perf_counter) -> CostModel:
    """Time one denoiser call with each number of branches, and one frame's hint and picture.

    `size` in px; call it after the backend's warm-up, on an otherwise idle device.
    """
    black = np.zeros((FRAMES, size, size, 3), np.uint8)
    reference = backend.encode(black[0], np.ones((size, size), np.float32), torch.zeros(1, 3, size, size))
    features = backend.features(black[:1]).expand(WINDOW, -1, -1, -1)
    x = torch.zeros(WINDOW, 4, size // 8, size // 8, device=features.device)

    def forward(branches: int) -> None:
        ((_, v),) = backend.denoise([DenoiseRequest(x, 1.0, reference, features, branches)])
        float(v[0, 0, 0, 0])  # waits for the device

    def frames() -> None:
        float(backend.features(black)[0, 0, 0, 0])
        backend.decode(x[:FRAMES])  # on the host when it returns

    def timed(call: Callable[[], None]) -> float:
        taken = []
        for _ in range(CALLS):
            start = clock()
            call()
            taken.append(clock() - start)
        return median(taken)

    return CostModel((timed(lambda: forward(1)), timed(lambda: forward(2))), timed(frames) / FRAMES)
