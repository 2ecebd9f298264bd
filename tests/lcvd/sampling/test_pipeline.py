"""Whole clips of the tiny model: against a rewrite of the published definition, and what settings and inputs do."""

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.errors import LcvdError, ModelUnavailable, ShapeError  # noqa: E402
from lcvd.networks.vae import decode_batches  # noqa: E402
from lcvd.sampling.conditions import released_bytes  # noqa: E402
from lcvd.sampling.pipeline import relight_frames, relight_latents  # noqa: E402
from lcvd.sampling.sampler import KnownFrames  # noqa: E402
from tests.rounding import rounding  # noqa: E402


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


def rewritten(
    folder: Path, clip: dict, steps: int, omega: float, seed: int, mode: str, cut: bool = False
) -> np.ndarray:
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
    seen = reference
    if cut:  # as inference.py does: np.uint8((x + 1) * 127.5)
        seen = torch.from_numpy(np.uint8((reference.numpy() + 1) * 127.5)).float() / 127.5 - 1
        assert not torch.equal(seen, reference)
    noisy = seen + 0.02 * torch.randn(reference.shape, generator=generator)
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
        small = (_resize_with_antialiasing(seen, (224, 224)) + 1) / 2
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


def test_released_reference(tiny_model, tiny_weights: Path, clip: dict) -> None:
    """On request the reference is cut to bytes for the VAE and CLIP, and not for its adapter, as the release does."""
    clip = {**clip, "hints": clip["hints"][:3]}
    expected = rewritten(tiny_weights, clip, steps=3, omega=4.5, seed=11, mode="relight", cut=True)
    got, uncut = (
        relight_latents(tiny_model, **clip, steps=3, omega=4.5, seed=11, released_reference=wanted).numpy()
        for wanted in (True, False)
    )
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert np.abs(uncut - expected).max() > 1e-3


@pytest.mark.parametrize(("dtype", "lowered"), [(torch.float16, 20), (torch.float32, 63)])
def test_released_bytes(dtype, lowered: int) -> None:
    """Some values lose one level, as in numpy's arithmetic of the same precision; none gains or loses more."""
    values = np.arange(256, dtype=np.uint8)
    number = {torch.float16: np.float16, torch.float32: np.float32}[dtype]
    theirs = np.uint8((values.astype(number) / number(127.5) - number(1) + number(1)) * number(127.5))
    cut = released_bytes(values, dtype)
    np.testing.assert_array_equal(cut, theirs)
    assert sorted(set((values.astype(int) - cut).tolist())) == [0, 1]
    assert (values != cut).sum() == lowered


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


@pytest.mark.parametrize("omega", [[4.0, 3.0, 1.0], (1.0, 3.0), [1.0, 4.0, 4.0]])
def test_a_ramp_that_holds_a_one_is_guided(tiny_model, clip: dict, omega) -> None:
    """One frame at ω = 1 leaves the others their guidance: the clip is that of a ramp that comes as near as can be."""
    short = {**clip, "hints": clip["hints"][:2]}
    ramp = relight_latents(tiny_model, **short, steps=2, omega=omega)
    near = [w + 1e-9 if w == 1 else w for w in omega]
    beside = relight_latents(tiny_model, **short, steps=2, omega=tuple(near) if isinstance(omega, tuple) else near)
    torch.testing.assert_close(ramp, beside, atol=rounding(tiny_model.denoiser, ramp, calls=2), rtol=0)
    unguided = relight_latents(tiny_model, **short, steps=2, omega=1.0)
    assert (ramp - unguided).abs().max() > 0.05


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


def one_bit(array: np.ndarray) -> np.ndarray:
    """The array with the least change at one place."""
    changed = array.copy()
    changed.reshape(-1)[7] = changed.reshape(-1)[7] ^ 1 if array.dtype == np.uint8 else changed.reshape(-1)[7] + 1e-3
    return changed


@pytest.mark.parametrize(
    "changed",
    [
        {"mode": "landmark"},
        {"mode": "animate"},
        {"sampler": "ddim"},
        {"omega": 4.4},
        {"steps": 2},
        {"known": KnownFrames(1, torch.zeros(1, 4, 8, 6))},
        *("mask", "reference_rgb", "reference_hint", "hints"),
    ],
    ids=str,
)
def test_all_that_decides_the_result_is_remembered(tiny_model, clip: dict, tmp_path: Path, changed) -> None:
    """A folder of a run that differs in any one input or setting is refused; the run itself goes on."""
    short = {**clip, "hints": clip["hints"][:2]}
    plain = relight_latents(tiny_model, **short, steps=1, state_dir=tmp_path)
    if isinstance(changed, str):
        changed = {changed: one_bit(short[changed])}
    with pytest.raises(LcvdError, match="another run"):
        relight_latents(tiny_model, **{**short, "steps": 1, **changed}, state_dir=tmp_path)
    assert torch.equal(relight_latents(tiny_model, **short, steps=1, state_dir=tmp_path), plain)


@pytest.mark.parametrize("changed", [KnownFrames(2, torch.zeros(1, 4, 8, 6)), KnownFrames(1, torch.ones(1, 4, 8, 6))])
def test_known_frames_are_remembered(tiny_model, clip: dict, tmp_path: Path, changed: KnownFrames) -> None:
    """The place and the latents of known frames decide the result too."""
    short = {**clip, "hints": clip["hints"][:3], "steps": 1, "state_dir": tmp_path}
    relight_latents(tiny_model, **short, known=KnownFrames(1, torch.zeros(1, 4, 8, 6)))
    with pytest.raises(LcvdError, match="another run"):
        relight_latents(tiny_model, **short, known=changed)


def test_pictures_are_rounded_to_the_nearest_level(tiny_model, clip: dict) -> None:
    """A decoded value of 99.7 is level 100, where the release truncates to 99: half a level of light."""
    short = {**clip, "hints": clip["hints"][:3]}
    latents = relight_latents(tiny_model, **short, steps=1)[1:]
    with torch.inference_mode():
        exact = torch.cat(list(decode_batches(tiny_model.vae, latents, 3))).permute(0, 2, 3, 1).numpy() * 255.0
    got = np.stack(list(relight_frames(tiny_model, **short, steps=1, decode_batch=3)))
    assert np.abs(got - exact).max() <= 0.5 + 1e-3
    assert abs(float((got - exact).mean())) < 0.05


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
