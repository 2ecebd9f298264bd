"""Seams between windows, seen in decoded pictures: flow-warped change at joins over that elsewhere (lcvd.metrics.seam).

`-s` prints the figures. The tiny model's weights are random: its pictures are noise that knows nothing of time, so its
own figures only show that nothing breaks; the toy prior, decoded by the same tiny VAE, is where joins can be told.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from dataclasses import replace  # noqa: E402

from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from engine.diffusion.window import WindowShape  # noqa: E402
from lcvd.errors import ShapeError  # noqa: E402
from lcvd.metrics.seam import seam_error  # noqa: E402
from lcvd.networks.vae import rgb_from_latents  # noqa: E402
from tests.engine.diffusion.test_sampler import clip_of, related  # noqa: E402
from tests.engine.diffusion.tiny_engine import engine_of, frame, opened  # noqa: E402

STRIDE = 10


def test_a_step_at_the_joins_is_a_seam() -> None:
    """A picture that moves as its guide does has none; one that also jumps in brightness every 10 frames has."""
    ground = np.random.default_rng(0).integers(0, 256, (64, 160, 3), np.uint8)
    ground = np.asarray([np.convolve(row, np.ones(9) / 9, "same") for row in ground.reshape(64, -1)]).reshape(
        64, 160, 3
    )
    guides = np.stack([ground[:, i : i + 96] for i in range(31)]).astype(np.uint8)
    noise = np.random.default_rng(1).normal(0, 3, guides.shape)
    steady = np.clip(guides * 0.8 + noise, 0, 255).astype(np.uint8)
    jumping = np.clip(steady + 12.0 * (np.arange(31) // STRIDE % 2)[:, None, None, None], 0, 255).astype(np.uint8)
    assert seam_error(steady, guides, STRIDE) == pytest.approx(1, abs=0.1)
    assert seam_error(jumping, guides, STRIDE) > 1.5
    with pytest.raises(ShapeError, match="hop 31"):
        seam_error(steady, guides, 31)


def test_decoded_windows_join_without_a_seam(tiny_lcvd) -> None:
    """Toy prior (ρ = 0.97), constant input, no mean error, the tiny VAE: corrected at most 1.1, without it worse."""
    shape, figures = WindowShape(STRIDE), {}
    for name, join, pinned in (("correct", "correct", True), ("pin", "pin", True), ("none", "pin", False)):
        plan = SamplerPlan(4, guidance="none", join=join)
        clip = clip_of(lambda _: related(0.97), shape, plan, 9, pinned, mean=False)
        latents = torch.from_numpy(clip[3 * STRIDE :]).float()
        with torch.inference_mode():
            rgb = rgb_from_latents(tiny_lcvd.vae, latents)
        pictures = (rgb * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        figures[name] = seam_error(pictures, np.zeros_like(pictures), STRIDE)
    print(figures)
    assert figures["correct"] <= 1.1
    assert figures["pin"] > figures["correct"] + 0.3
    assert figures["none"] > figures["pin"]


def test_the_tiny_models_own_windows(tiny_lcvd) -> None:
    """Through the stream, a nodding driver: no join of the live engine stands out."""
    figures = {}
    for join in ("correct", "pin"):
        stream = opened(engine_of(tiny_lcvd, replace(SamplerPlan(2, guidance="none"), join=join)))
        hints, pictures = [], []
        for i in range(40):
            if work := stream.prepare(frame(i)):
                hints.extend(work.payload.hints)
                pictures += [made.rgb for made in stream.render(work)]
        stream.close()
        figures[join] = seam_error(np.stack(pictures), np.stack(hints), STRIDE)
    print(figures)
    assert figures["correct"] <= 1.1
