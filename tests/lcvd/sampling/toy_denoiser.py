"""A denoiser with a closed form, and a clip's latents begun from noise, for the tests of the sampler. Needs torch."""

from pathlib import Path

import numpy as np
import torch

from lcvd.networks.schedule import v_from_x0
from lcvd.sampling.latent_file import ClipLatents
from lcvd.sampling.sampler import initial_noise

SHAPE = (4, 2, 3)


def begun(frames: int, sigma_max: float, folder: Path | None = None) -> tuple[ClipLatents, np.ndarray]:
    """A state full of noise, and that noise in float64 [frames,4,h,w]."""
    noise = initial_noise(torch.Generator().manual_seed(0), SHAPE[1:], sigma_max)
    state = ClipLatents(frames, SHAPE, folder)
    state.begin(noise)
    return state, noise.double().numpy()[np.arange(frames) % 16]


def gaussian(means: np.ndarray, spread: float, offsets: np.ndarray):
    """Optimal denoiser of N(mean, spread²) data under two conditions; `offsets` [16] act by position in the window."""

    def predict(x, sigma, frames):
        answers = []
        for branch in range(2):
            mean = means[branch][frames] + offsets[: len(frames), None, None, None]
            x0 = (spread**2 * x.double() + sigma**2 * torch.from_numpy(mean)) / (spread**2 + sigma**2)
            answers.append(v_from_x0(x.double(), x0, sigma).float())
        return answers[0], answers[1]

    return predict
