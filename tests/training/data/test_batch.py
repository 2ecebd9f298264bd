"""Batches depend on (seed, slot) only; masks, latents and the cache agree with slow versions written out here."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.networks.image_encoder import embed_image  # noqa: E402
from lcvd.random_model import random_lcvd  # noqa: E402
from tests.rounding import rounding  # noqa: E402
from tests.training.tiny_run import FRAMES, SIZE, tiny_config  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.data.batch import collate, latent_masks, make_batch, make_row  # noqa: E402
from training.data.dropout import ConditionMask  # noqa: E402
from training.data.encoder import FrozenEncoder  # noqa: E402
from training.data.sample import TrainingClip  # noqa: E402
from training.data.tensor_cache import TensorCache, picture_key  # noqa: E402
from training.errors import DataError  # noqa: E402
from training.loop.networks import TrainableModel  # noqa: E402

CPU = torch.device("cpu")
ALL = ConditionMask(1.0, 1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def model():
    return random_lcvd("tiny")


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return tiny_config(tmp_path / "run")


def noise_clip(seed: int) -> TrainingClip:
    rng = np.random.default_rng(seed)
    frames, hints = rng.integers(0, 256, (2, FRAMES, SIZE, SIZE, 3), np.uint8)
    return TrainingClip(frames, hints, rng.integers(0, 256, (FRAMES, SIZE, SIZE), np.uint8), frames[0], f"noise{seed}")


def test_a_clips_draws_do_not_depend_on_its_company(model, config: TrainConfig) -> None:
    """A slot gives the same numbers by itself, in a batch, and with another encoder's cache."""
    encoder = FrozenEncoder(model, config.data)
    clips = [noise_clip(i) for i in range(3)]
    together = make_batch(clips, [7, 8, 9], config, encoder, CPU)
    alone = make_row(clips[1], 8, config, encoder, CPU)
    for name in ("target", "noise", "sigma", "shading", "reference", "clip", "latents", "ids", "portrait"):
        assert torch.equal(getattr(together, name)[1:2], getattr(alone, name)), name
    assert together.condition_masks[1:2] == alone.condition_masks
    other = make_row(clips[1], 9, config, encoder, CPU)
    assert not torch.equal(other.noise, alone.noise)
    assert not torch.equal(other.sigma, alone.sigma)


def test_what_the_network_is_told(model, config: TrainConfig) -> None:
    """Target, reference latents, CLIP and ids of one row equal the formulas written out here."""
    encoder, clip = FrozenEncoder(model, config.data), noise_clip(1)
    row = make_row(clip, 3, config, encoder, CPU, condition_mask=ALL, sigma=2.0)
    pixels = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        mean = model.vae.encode(pixels).latent_dist.mean
        std = model.vae.encode(pixels).latent_dist.std
        token = embed_image(model.image_encoder, pixels[:1], model.image_mean, model.image_std)
    scaled = (row.target[0] / 0.18215 - mean) / std
    assert abs(float(scaled.mean())) < 0.2  # a sample of the posterior: standard normal around its mean
    assert float(scaled.std()) == pytest.approx(1, abs=0.15)
    torch.testing.assert_close(row.clip, token, atol=1e-5, rtol=1e-4)
    assert row.sigma.tolist() == [[2.0] * FRAMES]
    hard = clip.masks[:, ::8, ::8] > 127  # binarised, then the nearest pixel
    assert np.array_equal(row.portrait[0, :, 0].numpy(), hard)
    assert torch.equal(latent_masks(torch.from_numpy(clip.masks), SIZE // 8), row.portrait[0])
    # one latent for all frames, black where the reference's own portrait is
    assert torch.equal(row.latents[0, 0], row.latents[0, -1])
    assert not row.latents[0, 0][:, torch.from_numpy(hard[0])].any()
    assert row.latents[0, 0][:, torch.from_numpy(~hard[0])].all()
    assert row.ids[0, :2].tolist() == [6, 127]
    assert 0.005 < row.ids[0, 2] < 0.5
    dropped = make_row(clip, 3, config, encoder, CPU, condition_mask=ConditionMask(0, 0, 0, 0))
    assert not dropped.clip.any()
    assert not dropped.latents.any()
    assert torch.equal(dropped.target, row.target)  # dropping a condition leaves every other number as it was


def test_remembered_latents_are_the_fresh_ones(model, config: TrainConfig, tmp_path: Path) -> None:
    """The second call reads the file, also from another encoder; posteriors and references stay random."""
    fresh, clip = FrozenEncoder(model, config.data), noise_clip(2)
    first = FrozenEncoder(model, config.data, tmp_path)
    wanted = fresh.moments(clip.frames)
    torch.testing.assert_close(first.moments(clip.frames), wanted, atol=rounding(model.vae.encoder, wanted), rtol=0)
    a = make_row(clip, 0, config, first, CPU, condition_mask=ALL)
    first.close()
    again = FrozenEncoder(model, config.data, tmp_path)
    model.vae.encode, real = None, model.vae.encode  # not asked any more
    try:
        b = make_row(clip, 0, config, again, CPU, condition_mask=ALL)
    finally:
        model.vae.encode = real
    assert torch.equal(a.target, b.target)
    assert torch.equal(a.latents, b.latents)
    assert not torch.equal(make_row(clip, 1, config, again, CPU).target, a.target)
    levels = {round(make_row(clip, slot, config, again, CPU).ids[0, 2].item(), 6) for slot in range(12)}
    assert len(levels) == config.data.reference_draws
    again.close()


def test_an_adapter_that_is_not_kept_is_as_one_that_ran(model, config: TrainConfig) -> None:
    """Loss and gradients equal those of running it and multiplying by zero; its own gradient is zero, not absent."""
    encoder = FrozenEncoder(model, config.data)
    trainable = TrainableModel(model.denoiser.unet, model.adapters, "portrait").requires_grad_(True)
    for mask in (ConditionMask(0, 1, 1, 1), ConditionMask(1, 0, 1, 1), ConditionMask(0, 0, 1, 1)):
        row = make_row(noise_clip(3), 5, config, encoder, CPU, condition_mask=mask)
        results = []
        for batch in (row, collate([row, make_row(noise_clip(4), 6, config, encoder, CPU, condition_mask=ALL)])):
            trainable.zero_grad()
            losses = trainable(batch)
            losses[0].sum().backward()
            results.append((losses[0].detach(), {n: p.grad for n, p in trainable.named_parameters()}))
        (loss, skipped), (wanted, run) = results
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)
        for name in ("light", "ref"):
            for key in (k for k in run if k.startswith(f"adapters.{name}.")):
                torch.testing.assert_close(skipped[key], run[key], rtol=1e-3, atol=1e-5, msg=key)
        idle = "light" if not mask.shading else "ref"
        assert not skipped[f"adapters.{idle}.scale"].any()
    trainable.requires_grad_(False)


def test_a_cache_survives_a_torn_record_and_keeps_its_bound(tmp_path: Path) -> None:
    """A torn record is cut away; keys with trailing zeros stay themselves; beyond the bound nothing is kept."""
    path = tmp_path / "cache.bin"
    keys = [bytes([i]) + bytes(15) for i in range(1, 5)]
    cache = TensorCache(path, (2, 3), bound_bytes=3 * (16 + 24))
    for i, key in enumerate(keys):
        cache.put(key, torch.full((2, 3), float(i)))
    assert len(cache) == 3
    cache.close()
    with path.open("ab") as file:
        file.write(b"torn")
    cache = TensorCache(path, (2, 3), bound_bytes=4 * (16 + 24))
    cache.put(keys[3], torch.full((2, 3), 3.0))
    assert [float(cache.get(key)[0, 0]) for key in keys] == [0, 1, 2, 3]
    assert cache.get(picture_key(np.zeros((2, 2, 3), np.uint8))) is None
    cache.close()


def test_a_cache_on_a_full_disk_takes_no_more_and_stays_readable(tmp_path: Path) -> None:
    """Stored values are still returned, closing raises nothing, and another writer is refused while it is open."""
    cache = TensorCache(tmp_path / "cache.bin", (2,), 1 << 20)
    keys = [bytes([i]) * 16 for i in (1, 2)]
    cache.put(keys[0], torch.ones(2))
    with pytest.raises(DataError, match="another run"):
        TensorCache(tmp_path / "cache.bin", (2,), 1 << 20)
    whole, cache._file = cache._file, Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
    cache.put(keys[1], torch.ones(2))
    assert cache.get(keys[0]).tolist() == [1, 1]
    assert cache.get(keys[1]) is None
    cache.close()
    whole.close()
    again = TensorCache(tmp_path / "cache.bin", (2,), 1 << 20)
    with pytest.raises(AssertionError, match=r"holds \(2,\)"):
        again.put(keys[1], torch.ones(3))
    again.close()


def test_every_picture_has_noise_of_its_own(model, config: TrainConfig, tmp_path: Path) -> None:
    """Cached references differ in level and noise from picture to picture, and stay for the same one."""
    encoder = FrozenEncoder(model, config.data.model_copy(update={"reference_draws": 1}), tmp_path)
    levels = {
        make_row(noise_clip(seed), slot, config, encoder, CPU).ids[0, 2].item() for seed in range(4) for slot in (0, 1)
    }
    assert len(levels) == 4
    encoder.close()
