"""The sampler against closed forms and a slow float64 twin; then whole clips of the tiny model against a rewrite."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install 'relight-live[lcvd]'")

from safetensors.torch import save_file  # noqa: E402

from lcvd.errors import LcvdError, ModelUnavailable, ShapeError  # noqa: E402
from lcvd.networks.schedule import karras_sigmas, v_from_x0  # noqa: E402
from lcvd.sampling.latent_file import ClipLatents  # noqa: E402
from lcvd.sampling.pipeline import relight_frames, relight_latents  # noqa: E402
from lcvd.sampling.sampler import KnownFrames, initial_noise, sample_clip  # noqa: E402
from tests.rounding import rounding  # noqa: E402

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


def test_few_frames_are_open_at_a_time() -> None:
    """However long the clip, the sums held beside the latents are those of one window and the anchor."""
    most = 0

    class Watched(ClipLatents):
        def blend(self, *given) -> None:
            nonlocal most
            super().blend(*given)
            most = max(most, len(self._open))

    state = Watched(400, SHAPE)
    state.begin(torch.randn(16, *SHAPE))
    sample_clip(lambda x, sigma, frames: (x, x), state, np.array([2.0, 1.0, 0.0]), np.ones(400))
    assert most == 16


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


class Cut(Exception):
    """The run was interrupted."""


@pytest.mark.parametrize("after", [1, 3, 4, 7, 11])
def test_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, after: int) -> None:
    """Cut off after any window, a run with a folder resumes there and ends in the same bits."""
    frames = 37
    means = np.random.default_rng(6).normal(size=(2, frames, *SHAPE))
    plain = gaussian(means, 0.5, np.linspace(0, 1, 16))
    sigmas, omega = karras_sigmas(3), np.full(frames, 2.0)
    expected = sample_clip(plain, begun(frames, 700)[0], sigmas, omega)
    asked = []

    def predict(x, sigma, indices):
        asked.append(sigma)
        return plain(x, sigma, indices)

    def cut(done: int, total: int) -> None:
        assert total == 12
        if done == after:
            raise Cut

    with pytest.raises(Cut):
        sample_clip(predict, begun(frames, 700, tmp_path)[0], sigmas, omega, on_progress=cut)
    state, _ = begun(frames, 700, tmp_path)
    assert state.resumed
    got = sample_clip(predict, state, sigmas, omega)
    assert torch.equal(got, expected)
    assert len(asked) == 12
    finished = begun(frames, 700, tmp_path)[0]
    assert torch.equal(sample_clip(predict, finished, sigmas, omega), expected)
    assert len(asked) == 12


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    """A folder of another clip, or with a damaged file, is refused with the remedy."""
    begun(20, 700, tmp_path)
    with pytest.raises(LcvdError, match="another run"):
        begun(21, 700, tmp_path)
    (tmp_path / "latents_1.f32").write_bytes(b"short")
    with pytest.raises(LcvdError, match="wrong size"):
        begun(20, 700, tmp_path)
    (tmp_path / "progress.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(LcvdError, match="cannot be read"):
        begun(20, 700, tmp_path)
    nothing = {name: torch.zeros(0) for name in ("frames", "weights", "v1", "v2")}
    save_file(nothing, tmp_path / "progress.safetensors", {"step": "soon", "window": "0"})
    with pytest.raises(LcvdError, match="cannot be read"):
        begun(20, 700, tmp_path)


# Whole clips of the tiny model.


@pytest.fixture(scope="module")
def clip() -> dict:
    """Smooth synthetic pictures, 17 driven frames of 64 x 48."""
    rng = np.random.default_rng(2)

    def picture() -> np.ndarray:
        rows, columns = np.mgrid[:64, :48] / 20
        waves = [np.sin(rows * rng.uniform(1, 3) + columns * rng.uniform(1, 3) + rng.uniform(0, 6)) for _ in range(3)]
        return np.uint8(127 + 120 * np.stack(waves, -1))

    mask = np.clip(rng.uniform(-0.5, 1.5, (64, 48)), 0, 1)
    return {
        "reference_rgb": picture(),
        "reference_hint": picture(),
        "hints": np.stack([picture() for _ in range(17)]).transpose(0, 3, 1, 2).copy(),
        "mask": mask,
    }


def rewritten(folder: Path, clip: dict, steps: int, omega: float, seed: int, mode: str) -> np.ndarray:
    """docs/lcvd.md from the published files, with the stock classes and float64 arithmetic around them: [T+1,4,h,w]."""
    from diffusers import AutoencoderKL
    from diffusers.models import UNetSpatioTemporalConditionModel
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing
    from transformers import CLIPVisionModelWithProjection

    svd = folder / "stable-video-diffusion-img2vid-xt"
    unet = UNetSpatioTemporalConditionModel.from_config(UNetSpatioTemporalConditionModel.load_config(svd / "unet"))
    unet.load_state_dict(torch.load(folder / "unet.pth", weights_only=True))
    vae = AutoencoderKL.from_pretrained(svd / "sd-vae-ft-mse")
    clip_model = CLIPVisionModelWithProjection.from_pretrained(
        svd / "image_encoder", variant="fp16", dtype=torch.float32
    )
    injected: list = [None]
    unet.conv_in.register_forward_hook(lambda module, given, out: out + injected[0])

    def adapter(name: str, pixels):
        state = torch.load(folder / f"{name}_embedder.pth", weights_only=True)
        for index, stride in zip(range(0, 16, 2), (1, 2, 1, 2, 1, 2, 1, 1), strict=True):
            weight, bias = state[f"conv_layers.{index}.weight"], state[f"conv_layers.{index}.bias"]
            pixels = torch.nn.functional.silu(torch.nn.functional.conv2d(pixels, weight, bias, stride, 1))
        return torch.nn.functional.conv2d(pixels, state["final_proj.weight"], state["final_proj.bias"]) * state["scale"]

    generator = torch.Generator().manual_seed(seed)
    reference = torch.from_numpy(clip["reference_rgb"]).permute(2, 0, 1)[None].float() / 127.5 - 1
    noisy = reference + 0.02 * torch.randn(reference.shape, generator=generator)
    hints = np.concatenate([clip["reference_hint"].transpose(2, 0, 1)[None], clip["hints"]])
    frames = len(hints)
    height, width = reference.shape[2] // 8, reference.shape[3] // 8
    draw = torch.randn(16, 4, height, width, generator=generator).double()
    mask = np.empty((height, width))
    for row in range(height):  # bilinear at a factor of 8 is the mean of the four middle pixels
        for column in range(width):
            mask[row, column] = clip["mask"][8 * row + 3 : 8 * row + 5, 8 * column + 3 : 8 * column + 5].mean()
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        small = (_resize_with_antialiasing(reference, (224, 224)) + 1) / 2
        token = clip_model((small - mean) / std).image_embeds[:, None]
        latent = vae.encode(noisy).latent_dist.mode()[0].double().numpy() * (1 - mask)
        ref = adapter("ref", reference)
        driven = adapter("head" if mode == "landmark" else "light", torch.from_numpy(hints).float() / 255)
        full = driven + ref
        held = (ref if mode == "relight" else torch.zeros_like(ref)).expand_as(driven)
        levels = [(700 ** (1 / 7) + i / (steps - 1) * (0.002 ** (1 / 7) - 700 ** (1 / 7))) ** 7 for i in range(steps)]
        x = np.stack([draw[i % 16].numpy() for i in range(frames)]) * math.sqrt(700**2 + 1)
        windows = [list(range(frames))] if frames <= 16 else [list(range(16)), [0, *range(frames - 15, frames)]]
        for s, n in zip(levels, [*levels[1:], 0.0], strict=True):
            sums, weights = np.zeros((2, *x.shape)), np.zeros((frames, 1, 1, 1))
            for window in windows:
                size = len(window)
                tent = np.array([1 - abs((p + 0.5) / (size / 2) - 1) for p in range(size)])[:, None, None, None]
                z = x[window] / math.sqrt(s**2 + 1)
                sample = np.concatenate([z, np.broadcast_to(latent, z.shape)], axis=1)
                for branch, (features, context) in enumerate(((held, torch.zeros_like(token)), (full, token))):
                    injected[0] = features[window]
                    v = unet(
                        torch.from_numpy(sample).float()[None],
                        torch.tensor(0.25 * math.log(s)),
                        context,
                        torch.tensor([[6.0, 127.0, 0.02]]),
                        return_dict=False,
                    )[0][0]
                    sums[branch, window] += v.double().numpy() * tent
                weights[window] += tent
            v1, v2 = sums / weights
            v = v1 + omega * (v2 - v1)
            x0 = -v * s / math.sqrt(s**2 + 1) + x / (s**2 + 1)
            x = x + (x - x0) / s * (n - s)
    return x


@pytest.mark.parametrize(("mode", "driven"), [("relight", 17), ("landmark", 4), ("animate", 4)])
def test_clip_equals_the_published_definition(
    tiny_model, tiny_weights: Path, clip: dict, mode: str, driven: int
) -> None:
    """Two windows of the tiny model agree to 1e-4 with a rewrite from docs/lcvd.md; also under 16 frames."""
    clip = {**clip, "hints": clip["hints"][:driven]}
    expected = rewritten(tiny_weights, clip, steps=3, omega=4.5, seed=11, mode=mode)
    got = relight_latents(tiny_model, **clip, steps=3, omega=4.5, seed=11, mode=mode)
    assert expected.std() > 0.1
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


def test_frames_and_progress(tiny_model, clip: dict) -> None:
    """The clip has as many uint8 frames as hints, of the reference's size; progress counts windows times steps."""
    seen: list = []
    frames = list(relight_frames(tiny_model, **clip, steps=2, on_progress=lambda *done: seen.append(done)))
    assert len(frames) == 17
    assert all(frame.shape == (64, 48, 3) and frame.dtype == np.uint8 for frame in frames)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_seeds(tiny_model, clip: dict) -> None:
    """The same seed gives the same bits, another seed another result."""
    runs = [relight_latents(tiny_model, **clip, steps=2, seed=seed) for seed in (4, 4, 5)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2], atol=0.01)


def test_branches_one_after_the_other(tiny_model, clip: dict) -> None:
    """Saving memory does not change the result beyond rounding."""
    both = relight_latents(tiny_model, **clip, steps=2)
    turns = relight_latents(tiny_model, **clip, steps=2, batched=False)
    torch.testing.assert_close(both, turns, atol=rounding(tiny_model.denoiser, both, calls=2), rtol=0)


def test_omega_one_never_asks_c1(tiny_model, clip: dict) -> None:
    """At ω = 1 everywhere the first branch is skipped, and guidance between the two at ω = 1 says the same."""
    short = {**clip, "hints": clip["hints"][:3]}
    skipped = relight_latents(tiny_model, **short, steps=2, omega=1.0)
    nearly = relight_latents(tiny_model, **short, steps=2, omega=[1.0, 1.0, 1.0, 1.0 + 1e-9], batched=False)
    torch.testing.assert_close(skipped, nearly, atol=rounding(tiny_model.denoiser, skipped, calls=2), rtol=0)


def test_shading_matters_only_where_guidance_says(tiny_model, clip: dict) -> None:
    """At ω = 0 only c1 counts, which in relighting has no shading: hints do nothing. At ω = 4.5 they do."""
    short = {**clip, "hints": clip["hints"][:2]}
    dark = {**short, "hints": np.zeros_like(short["hints"])}
    blind = [relight_latents(tiny_model, **which, steps=2, omega=0.0) for which in (short, dark)]
    torch.testing.assert_close(blind[0], blind[1], atol=1e-5, rtol=0)
    seeing = [relight_latents(tiny_model, **which, steps=2, omega=4.5) for which in (short, dark)]
    assert (seeing[0] - seeing[1]).abs().max() > 0.05


def test_portrait_is_removed_from_the_condition(tiny_model, clip: dict) -> None:
    """With a full mask the reference latents are zero; with none they are the encoder's."""
    from lcvd.sampling.conditions import ClipConditions

    def latents(mask: np.ndarray):
        made = ClipConditions(tiny_model, clip["reference_rgb"], mask, clip["reference_hint"], clip["hints"])
        c1, c2 = made.pair([0, 3])
        assert torch.equal(c1.latents, c2.latents)
        assert not c1.image_embedding.any()
        assert c2.image_embedding.any()
        return c2.latents

    assert not latents(np.ones((64, 48))).any()
    assert latents(np.zeros((64, 48), bool)).abs().max() > 0.1


def test_memory_mapped_and_channels_last_hints(tiny_model, clip: dict, tmp_path: Path) -> None:
    """Hints may be a memory map and may have channels last; the result is the same."""
    last = np.ascontiguousarray(clip["hints"][:3].transpose(0, 2, 3, 1))
    np.save(tmp_path / "hints.npy", last)
    mapped = np.load(tmp_path / "hints.npy", mmap_mode="r")
    plain = relight_latents(tiny_model, **{**clip, "hints": clip["hints"][:3]}, steps=1, state_dir=tmp_path / "a")
    other = relight_latents(tiny_model, **{**clip, "hints": mapped}, steps=1)
    assert torch.equal(plain, other)


def test_run_with_other_settings_is_not_resumed(tiny_model, clip: dict, tmp_path: Path) -> None:
    """The folder remembers what decides the result: another seed or hint is another run."""
    short = {**clip, "hints": clip["hints"][:2].copy()}
    relight_latents(tiny_model, **short, steps=1, state_dir=tmp_path)
    with pytest.raises(LcvdError, match="another run"):
        relight_latents(tiny_model, **short, steps=1, seed=9, state_dir=tmp_path)
    short["hints"][1, 0, 0, 0] ^= 1
    with pytest.raises(LcvdError, match="another run"):
        relight_latents(tiny_model, **short, steps=1, state_dir=tmp_path)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_clip(tiny_weights: Path, tiny_model, clip: dict, dtype: str) -> None:
    """fp16 and bf16 run end to end and land near float32."""
    from lcvd.model import load_lcvd

    short = {**clip, "hints": clip["hints"][:2]}
    exact = np.stack(list(relight_frames(tiny_model, **short, steps=2))).astype(float)
    rough = np.stack(list(relight_frames(load_lcvd(tiny_weights, dtype=dtype), **short, steps=2))).astype(float)
    assert np.abs(exact - rough).mean() < 12
    assert exact.std() > 20


def test_bad_pictures_are_named(tiny_model, clip: dict) -> None:
    """A mask, hint or reference of the wrong size or type, and no hints at all, are refused by name."""
    wrong = {
        "mask": [np.ones((8, 8)), np.full((64, 48), 255, np.uint8), np.full((64, 48), 2.0)],
        "hints": [clip["hints"][:0], clip["hints"][:, :, :32], clip["hints"].astype(float)],
        "reference_rgb": [clip["reference_rgb"][:60], clip["reference_rgb"].astype(float)],
        "reference_hint": [clip["reference_hint"][:32]],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ShapeError, match=name.split("_")[0].rstrip("s")):
                relight_frames(tiny_model, **{**clip, name: value}, steps=1)


def test_bad_settings_are_named(tiny_model, clip: dict, tiny_weights: Path) -> None:
    """Unknown names, sigmas that do not fall to 0 and a missing temporal decoder say what is legal."""
    from dataclasses import replace

    with pytest.raises(ValueError, match="euler or ddim"):
        relight_frames(tiny_model, **clip, sampler="heun")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="relight, landmark, animate"):
        relight_frames(tiny_model, **clip, mode="dream", steps=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="image or temporal"):
        relight_frames(tiny_model, **clip, decoder="gpu", steps=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fall strictly to 0"):
        relight_frames(tiny_model, **clip, sigmas=[1.0, 2.0, 0.0])
    with pytest.raises(ModelUnavailable, match="temporal"):
        relight_frames(replace(tiny_model, temporal_vae=None), **clip, decoder="temporal")


def test_own_sigmas(tiny_model, clip: dict) -> None:
    """A few-step engine brings its own levels; two of them are two steps."""
    seen: list = []
    short = {**clip, "hints": clip["hints"][:2]}
    relight_latents(tiny_model, **short, sigmas=[30.0, 1.0, 0.0], on_progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]
