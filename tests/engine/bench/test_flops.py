"""engine.bench.flops and lcvd.random_model: counted against the published figures, and against sums done by hand."""

import pytest

torch = pytest.importorskip("torch", reason="pip install 'relight-live[lcvd]'")

from engine.bench.flops import stage_flops  # noqa: E402
from lcvd.random_model import configs, random_lcvd  # noqa: E402


def test_operations_are_those_of_the_published_model() -> None:
    """At 512 px: 40.61 TFLOP a forward with guidance, 2.515 a decoded frame, 1.117 a portrait, 0.335 for CLIP."""
    flops = stage_flops(512)
    assert flops.forward[1] == pytest.approx(40.61e12, rel=1e-3)
    assert flops.forward[0] == pytest.approx(flops.forward[1] / 2, rel=1e-6)
    assert (flops.decode, flops.encode, flops.clip) == pytest.approx((2.515e12, 1.117e12, 0.335e12), rel=2e-3)
    assert 16 * flops.features == pytest.approx(0.04e12, rel=0.02)  # an adapter, a window


def test_an_adapters_operations_by_hand() -> None:
    """Every convolution: 2 · outputs · k² · inputs, at the size its strides leave."""
    layers = [(3, 3, 3, 1), (3, 16, 4, 2), (16, 16, 3, 2), (16, 32, 4, 4), (32, 32, 3, 4), (32, 64, 4, 8)]
    layers += [(64, 64, 3, 8), (64, 128, 3, 8), (128, 320, 1, 8)]
    by_hand = sum(2 * (512 // down) ** 2 * cout * cin * k * k for cin, cout, k, down in layers)
    assert stage_flops(512).features == pytest.approx(by_hand, rel=1e-9)


def test_a_window_is_steps_and_fresh_frames() -> None:
    """Steps times the forward of its branches, and each fresh frame's hint and picture."""
    flops = stage_flops(64, 16, "tiny")
    assert flops.window(4, 2, 10) == 4 * flops.forward[1] + 10 * (flops.decode + flops.features)


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
