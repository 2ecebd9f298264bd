"""lcvd.random_model: the published sizes, and values of ordinary size."""

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.random_model import configs, random_lcvd  # noqa: E402


def test_the_full_model_has_the_published_parameters() -> None:
    """1,524,623,082 in the UNet, 205,557 in each of three adapters; nothing is allocated on the meta device."""
    model = random_lcvd("full", "meta", "bf16")
    assert sum(p.numel() for p in model.denoiser.parameters()) == 1_524_623_082
    assert sum(p.numel() for p in model.adapters.parameters()) == 3 * 205_557
    assert {p.device.type for p in model.denoiser.parameters()} == {"meta"}


def test_random_values_stay_in_range(tiny_model) -> None:
    """The tiny one predicts finite numbers of ordinary size, the same for the same seed, and has the tiny layout."""
    model, again = random_lcvd("tiny"), random_lcvd("tiny")
    for a, b in zip(model.denoiser.parameters(), again.denoiser.parameters(), strict=True):
        assert torch.equal(a, b)
    assert {n: p.shape for n, p in model.denoiser.named_parameters()} == {
        n: p.shape for n, p in tiny_model.denoiser.named_parameters()
    }
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        picture = model.vae.decode(latents).sample
    assert 0.01 < float(picture.std()) < 100


def test_an_unknown_scale_is_refused() -> None:
    """With the legal ones."""
    with pytest.raises(ValueError, match="full or tiny"):
        configs("medium")  # type: ignore[arg-type]
