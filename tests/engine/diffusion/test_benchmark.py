"""engine.diffusion.benchmark: stages timed one by one under a clock that only the backend moves."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.diffusion.benchmark import measure_cost_model  # noqa: E402


class Timed:
    """A backend whose calls take what they are told to, on its own clock; the first of a kind takes ten times."""

    name = "timed"

    def __init__(self) -> None:
        self.now, self._seen = 0.0, set()

    def _take(self, what, seconds: float) -> None:
        self.now += seconds * (1 if what in self._seen else 10)
        self._seen.add(what)

    def encode(self, rgb, mask, noise):
        self._take("encode", 5.0)

    def features(self, hints):
        self._take("features", 0.01 * len(hints))
        return torch.zeros(len(hints), 3, 8, 8)

    def denoise(self, requests):
        self._take(requests[0].branches, (0.0, 0.1, 0.18)[requests[0].branches])
        return [(None, request.x) for request in requests]

    def decode(self, latents):
        self._take("decode", 0.03 * len(latents))
        return np.zeros((len(latents), 64, 64, 3), np.uint8)


def test_the_median_of_every_stage_is_taken() -> None:
    """One slow first call does not count; a frame is its hint and its picture."""
    backend = Timed()
    cost = measure_cost_model(backend, 64, lambda: backend.now)
    assert cost.forward_s == pytest.approx((0.1, 0.18))
    assert cost.decode_s == pytest.approx(0.04)
    assert cost.window_s(4, 2, 10) == pytest.approx(4 * 0.18 + 0.4)
