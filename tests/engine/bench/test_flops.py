"""engine.bench.flops: counted against the published figures, and against sums done by hand."""

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.bench.flops import stage_flops  # noqa: E402


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
