"""The sampler against closed forms and a slow reference in float64."""

import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.networks.schedule import karras_sigmas  # noqa: E402
from lcvd.sampling.latent_file import ClipLatents  # noqa: E402
from lcvd.sampling.sampler import KnownFrames, sample_clip  # noqa: E402
from tests.lcvd.sampling.toy_denoiser import SHAPE, begun, gaussian  # noqa: E402


@pytest.mark.parametrize("frames", [3, 16, 41])
@pytest.mark.parametrize("sampler", ["euler", "ddim"])
def test_linear_denoiser_has_its_closed_form(frames: int, sampler: str) -> None:
    """x - m shrinks by (s² + σσ')/(s² + σ²) a step, m being the guided mean of the tent-weighted windows."""
    rng = np.random.default_rng(frames)
    means, offsets, spread = rng.normal(size=(2, frames, *SHAPE)), rng.normal(size=16), 0.8
    omega = rng.uniform(0, 5, frames)
    sigmas = karras_sigmas(9, sigma_max=80.0)
    state, x = begun(frames, 80.0)
    got = sample_clip(gaussian(means, spread, offsets), state, sigmas, omega, sampler)

    starts = [0] if frames <= 16 else sorted({*range(0, frames - 15, 10), frames - 16})
    weighted, total = np.zeros(frames), np.zeros(frames)
    for start in starts:
        window = [0, *range(start + 1, min(start + 16, frames))]
        for p, frame in enumerate(window):
            weight = 1 - abs((p + 0.5) / (len(window) / 2) - 1)
            weighted[frame] += weight * offsets[p]
            total[frame] += weight
    o = omega[:, None, None, None]
    mean = means[0] + o * (means[1] - means[0]) + (weighted / total)[:, None, None, None]
    factor = math.prod((spread**2 + s * n) / (spread**2 + s**2) for s, n in itertools.pairwise(sigmas))
    np.testing.assert_allclose(got.numpy(), mean + (x - mean) * factor, atol=1e-4)


def test_tiling_equals_a_slow_twin() -> None:
    """A network that mixes the frames of its window: whole arrays in float64, two sums, one division, one step."""
    frames = 37
    rng = np.random.default_rng(1)
    mix = rng.normal(size=(16, 16)) / 4

    def network(z: np.ndarray, branch: int) -> np.ndarray:
        return np.tanh(np.einsum("pq,qchw->pchw", mix, z) + 0.3 * branch)

    def predict(x, sigma, indices):
        z = x.double().numpy() / math.sqrt(sigma**2 + 1)
        return tuple(torch.from_numpy(network(z, branch)).float() for branch in range(2))

    sigmas, omega = karras_sigmas(6, sigma_max=20.0), np.linspace(3, 1, frames)
    state, x = begun(frames, 20.0)
    got = sample_clip(predict, state, sigmas, omega)

    windows = [[0, *range(i + 1, i + 16)] for i in (0, 10, 20, 21)]
    tent = np.minimum((np.arange(16) + 0.5) / 8, 2 - (np.arange(16) + 0.5) / 8)[:, None, None, None]
    for s, n in itertools.pairwise(sigmas):
        sums, weights = np.zeros((2, frames, *SHAPE)), np.zeros((frames, 1, 1, 1))
        for window in windows:
            z = x[window] / math.sqrt(s**2 + 1)
            sums[:, window] += [network(z, branch) * tent for branch in range(2)]
            weights[window] += tent
        v1, v2 = sums / weights
        v = v1 + omega[:, None, None, None] * (v2 - v1)
        x0 = -v * s / math.sqrt(s**2 + 1) + x / (s**2 + 1)
        x = x + (x - x0) / s * (n - s)
    np.testing.assert_allclose(got.numpy(), x, atol=1e-4)


def test_overlap_is_seamless_on_constant_input() -> None:
    """With equal frames a tiled clip is alike everywhere and equal to one without tiles."""
    frames = 45

    def predict(x, sigma, indices):
        v = torch.tanh(x - x.mean(0)) + torch.tanh(x * 0.1)
        return v * 0.5, v

    constant = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3)) * 10
    results = []
    for windows in (None, [list(range(frames))]):
        state = ClipLatents(frames, SHAPE)
        state.begin(constant)
        results.append(
            sample_clip(predict, state, karras_sigmas(8, sigma_max=10), np.full(frames, 2.0), windows=windows)
        )
    tiled, whole = results
    assert (tiled - tiled[:1]).abs().max() < 1e-5
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


def test_noise_repeats_with_period_16() -> None:
    """One draw of 16 frames times √(σ² + 1) fills the clip."""
    state, _ = begun(35, 700.0)
    assert torch.equal(state.x[16:32], state.x[:16])
    assert torch.equal(state.x[32:], state.x[:3])
    assert state.x[:16].std().item() == pytest.approx(math.sqrt(700**2 + 1), rel=0.1)


def test_known_frames_end_where_they_are_known() -> None:
    """Pinned frames come out as their known latents; the others follow their own way."""
    means = np.random.default_rng(5).normal(size=(2, 20, *SHAPE))
    predict, sigmas, omega = gaussian(means, 0.5, np.zeros(16)), karras_sigmas(5), np.full(20, 2.0)
    known = KnownFrames(1, torch.full((3, *SHAPE), 0.25))
    pinned = sample_clip(predict, begun(20, 700)[0], sigmas, omega, known=known)
    free = sample_clip(predict, begun(20, 700)[0], sigmas, omega)
    torch.testing.assert_close(pinned[1:4], known.latents, atol=1e-5, rtol=0)
    assert torch.equal(pinned[4:], free[4:])
    assert torch.equal(pinned[:1], free[:1])
