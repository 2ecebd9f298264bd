"""The reference sampler: noise -> latents of a clip of any length, as published (offline, many steps, not causal).

At every step each window is predicted under both conditions, the predictions are blended frame by frame with tent
weights for each branch, guided once (Eq. 6), and all frames take one step together. Here a frame's step is taken as
soon as no later window touches it, which gives the same numbers and keeps only the open frames in memory.
It reaches the network through `Predict` alone, so that tests use a toy denoiser with a known solution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcvd.networks.guidance import guided
from lcvd.networks.schedule import SamplerName, step, v_from_x0
from lcvd.sampling.latent_file import ClipLatents
from lcvd.sampling.windows import WINDOW, tent, tile_windows

# (x [F,4,h,w], σ, indices of those frames in the clip) -> (v1, v2), each [F,4,h,w]
Predict = Callable[[Tensor, float, Sequence[int]], tuple[Tensor, Tensor]]
OnProgress = Callable[[int, int], None]  # (window predictions done, of how many)


@dataclass(frozen=True, slots=True, eq=False)
class KnownFrames:
    """Clean latents of frames `first` … `first + n - 1` that are known already; the sampler is pinned to them."""

    first: int
    latents: Tensor  # [n,4,h,w]

    def pin(self, frames: Sequence[int], x: Tensor, v: Tensor, sigma: float) -> Tensor:
        """Return v [F,4,h,w] with the rows of known frames replaced by the v that predicts them."""
        v = v.clone()
        for row, frame in enumerate(frames):
            known = frame - self.first
            if 0 <= known < self.latents.shape[0]:
                v[row] = v_from_x0(x[row], self.latents[known].to(x), sigma)
        return v


def initial_noise(
    generator: torch.Generator,
    size: tuple[int, int],  # h, w
    sigma_max: float,
    period: int = WINDOW,
) -> Tensor:
    """Draw `period` frames [P,4,h,w] times √(σ_max² + 1); the clip repeats them, as the released code does."""
    return torch.randn(period, 4, *size, generator=generator) * (sigma_max**2 + 1) ** 0.5


def sample_clip(
    predict: Predict,
    state: ClipLatents,  # begun, or resumed
    sigmas: NDArray[np.float64],  # [steps + 1], falling, the last one 0
    omega: NDArray[np.float64],  # [frames]
    sampler: SamplerName = "euler",
    known: KnownFrames | None = None,
    windows: Sequence[Sequence[int]] | None = None,
    on_progress: OnProgress | None = None,
) -> Tensor:
    """Sample clean scaled latents [frames,4,h,w]; `state` may come from an earlier, interrupted run."""
    tiles = tile_windows(state.frames) if windows is None else windows
    steps = len(sigmas) - 1
    last_use = {frame: index for index, tile in enumerate(tiles) for frame in tile}
    if len(last_use) != state.frames or len(omega) != state.frames:
        raise ValueError(f"windows cover {len(last_use)} and omega {len(omega)} of {state.frames} frames")
    while state.step < steps:
        sigma, sigma_next = float(sigmas[state.step]), float(sigmas[state.step + 1])
        for index in range(state.window, len(tiles)):
            tile = list(tiles[index])
            v1, v2 = predict(state.x[tile], sigma, tile)
            state.blend(tile, v1, v2, tent(len(tile)).tolist())
            final = [frame for frame in tile if last_use[frame] == index]
            if final:
                x = state.x[final]
                v = guided(*state.close(final), torch.from_numpy(omega[final]))
                if known is not None:
                    v = known.pin(final, x, v, sigma)
                state.x_next[final] = step(sampler, x, v, sigma, sigma_next)
            state.commit(index + 1)
            if on_progress is not None:
                on_progress(state.step * len(tiles) + index + 1, steps * len(tiles))
        state.end_step()
    return state.x
