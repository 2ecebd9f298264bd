"""engine.diffusion.renderer: every window opens with the anchor, and each row has its own frame's features."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.diffusion.mean_jump import MeanJump  # noqa: E402
from engine.diffusion.renderer import WindowRenderer  # noqa: E402
from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from engine.diffusion.window import STRIDES, WINDOW, WindowShape  # noqa: E402
from lcvd.networks.vae import decode_batches  # noqa: E402
from tests.engine.diffusion.tiny_engine import CountingBackend, engine_of, frame, opened  # noqa: E402

ONE = SamplerPlan(1, guidance="none")


class WatchedBackend(CountingBackend):
    """Keeps the features and noisy rows of every prediction asked for."""

    def __init__(self, model) -> None:
        super().__init__(model)
        self.rows: list = []

    def denoise(self, requests):
        self.rows += [(request.features.clone(), request.x.clone(), request.sigma) for request in requests]
        return super().denoise(requests)


def watched(tiny_lcvd, stride: int, windows: int = 3, plan: SamplerPlan = ONE):
    """(backend, stream) after `windows` windows of one step each."""
    made: list[WatchedBackend] = []
    engine = engine_of(tiny_lcvd, plan, stride, backend=lambda model: made.append(WatchedBackend(model)) or made[-1])
    made[0].__init__(tiny_lcvd)  # forget the warm-up
    stream = opened(engine)
    for i in range(windows * stride):
        stream.push(frame(i))
    return made[0], stream


@pytest.mark.parametrize("stride", STRIDES)
def test_each_row_has_the_features_of_its_frame(tiny_lcvd, stride: int) -> None:
    """The anchor's are the portrait's in every window; a context row's are those it had as a new row."""
    backend, stream = watched(tiny_lcvd, stride, 4)
    shape, of_frame = WindowShape(stride), {}
    portrait = backend.features(stream.reference.hint[None])[0]
    for number, (features, _, _) in enumerate(backend.rows):
        assert len(features) == WINDOW
        torch.testing.assert_close(features[0], portrait, atol=1e-6, rtol=0)
        for place, row in zip(shape.clip_frames(number)[1:], features[1:], strict=True):
            torch.testing.assert_close(of_frame.setdefault(place, row), row, atol=0, rtol=0)
    moving = torch.stack([of_frame[place] for place in sorted(of_frame)][shape.context :]).flatten(1)
    assert torch.cdist(moving, moving).fill_diagonal_(1).min() > 1e-4  # the frames can be told apart


@pytest.mark.parametrize("stride", STRIDES)
def test_each_window_begins_with_the_anchor_and_the_newest_frames(tiny_lcvd, stride: int) -> None:
    """Known rows come in as their clean latents under their own noise: the first window's anchor, what was decoded."""
    # Pinned: with the correction, what is decoded is not quite what is kept (the next test).
    backend, stream = watched(tiny_lcvd, stride, 3, replace(ONE, join="pin"))
    shape, kept = WindowShape(stride), stream._renderer._kept
    newest = torch.cat(backend.latents)[-shape.context :]
    # A known row is set to x0 + σ ε and back again: float32 at σ = 700 rounds at 1e-4 each time.
    torch.testing.assert_close(kept[-len(newest) :], newest, atol=5e-3, rtol=0)
    (_, first, sigma), (_, last, _) = backend.rows[0], backend.rows[-1]
    noise = first[0] / (sigma**2 + 1) ** 0.5  # row 0 of the first window is noise alone, and stays the anchor's
    torch.testing.assert_close(last[0] - sigma * noise, kept[0], atol=5e-3, rtol=0)
    assert kept[0].abs().max() > 0.1
    assert (kept[0] - newest).abs().amax((1, 2, 3)).min() > 0.1  # it is nobody else's


def test_the_step_at_joins_goes_from_what_is_shown_and_not_from_what_is_kept(tiny_lcvd, monkeypatch) -> None:
    """Pictures are decoded without the mean step at joins; the next window's known rows keep it, so it cannot grow."""
    finish, clean = WindowRenderer.finish, []
    monkeypatch.setattr(
        WindowRenderer, "finish", lambda self, latents, *rest: clean.append(latents) or finish(self, latents, *rest)
    )
    backend, stream = watched(tiny_lcvd, 4, 4)
    clean, shape, jump = clean[-4:], WindowShape(4), MeanJump()  # without the warm-up's
    for number, (latents, decoded) in enumerate(zip(clean, backend.latents, strict=True)):
        before = clean[number - 1][-1] if number else None
        torch.testing.assert_close(decoded, jump.spread(latents[shape.ready], before), atol=0, rtol=0)
    assert (backend.latents[-1] - clean[-1][shape.ready]).abs().max() > 1e-3
    torch.testing.assert_close(stream._renderer._kept, clean[-1][shape.kept], atol=0, rtol=0)


def test_the_mean_error_is_the_streams_own(tiny_lcvd) -> None:
    """Every window after the first counts into it, once a step, and another stream's has counted nothing."""
    _, stream = watched(tiny_lcvd, 4, 4)
    assert {step: count for step, (_, count) in stream._renderer._mean_error._means.items()} == {0: 3}
    _, other = watched(tiny_lcvd, 4, 1)
    assert other._renderer._mean_error._means == {}


def test_pictures_are_rounded_to_the_nearest_level(tiny_lcvd) -> None:
    """A decoded value of 99.7 is level 100: half a level of light is not lost, live either."""
    backend, _ = watched(tiny_lcvd, 10, 1)
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = torch.cat(list(decode_batches(tiny_lcvd.vae, latents, 2))).permute(0, 2, 3, 1).numpy() * 255.0
        got = backend.decode(latents)
    assert np.abs(got - exact).max() <= 0.5 + 1e-3
    assert abs(float((got - exact).mean())) < 0.05
