"""engine.diffusion.engine on a tiny random model: windows, joins with the offline sampler, refusals."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.backends.eager import EagerBackend  # noqa: E402
from engine.diffusion.engine import DiffusionEngine, DiffusionOptions  # noqa: E402
from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from engine.errors import ClipError, EngineUnavailable, PortraitError, StreamClosed  # noqa: E402
from engine.offline.relight_clip import relight_clip  # noqa: E402
from engine.protocols import StreamConfig  # noqa: E402
from lcvd.hints import render_hints  # noqa: E402
from lcvd.motion import FaceMotion  # noqa: E402
from lcvd.networks.schedule import few_step_sigmas  # noqa: E402
from lcvd.sampling.pipeline import relight_frames  # noqa: E402
from tests.engine.diffusion.tiny_engine import (  # noqa: E402
    FPS,
    FULL,
    SIZE,
    CountingBackend,
    TurningTracker,
    engine_of,
    frame,
    opened,
    pushed,
)
from tests.engine.synthetic_person import RIGHT  # noqa: E402


@pytest.mark.parametrize("stride", [4, 10])
def test_every_frame_comes_out_once_in_order_as_an_avatar(tiny_lcvd, stride: int) -> None:
    """[S,S,3] with index, t_s and arrival of the driver's frame; what has not filled a window is held."""
    out = pushed(opened(engine_of(tiny_lcvd), stride=stride), 2 * stride + 3)
    assert [f.index for f in out] == list(range(2 * stride))
    for made in out:
        given = frame(made.index)
        assert made.rgb.shape == (SIZE, SIZE, 3)
        assert made.rgb.dtype == np.uint8
        assert (made.t_s, made.arrived_s) == (given.t_s, given.arrived_s)


@pytest.mark.parametrize("plan", [SamplerPlan(2, "euler", "guided", 3.0), SamplerPlan(2, "ddim", "none")])
def test_the_first_window_is_the_offline_pipelines(tiny_lcvd, plan: SamplerPlan) -> None:
    """lcvd.sampling.pipeline on the same hints, its first frames standing still, gives the same pictures."""
    stream = opened(engine_of(tiny_lcvd, plan))
    reference = stream.reference
    motion, tracker, hints = FaceMotion(reference.face), TurningTracker(), []
    for i in range(10):
        face = motion(tracker.track(frame(i).rgb, i / FPS))
        hints.append(render_hints(face, FULL, (SIZE, SIZE)).rgb)
    assert (hints[0] != hints[9]).any()
    live = pushed(stream, 10)
    expected = list(
        relight_frames(
            tiny_lcvd,
            reference.rgb,
            reference.hint,
            np.stack([hints[0]] * 5 + hints),
            reference.mask,
            sigmas=few_step_sigmas(plan.sampler, plan.steps).tolist(),
            omega=plan.omega if plan.branches == 2 else 1.0,
            sampler=plan.sampler,
        )
    )[5:]
    for made, wanted in zip(live, expected, strict=True):
        assert np.abs(made.rgb.astype(int) - wanted).max() <= 1


def test_what_does_not_change_is_computed_once(tiny_lcvd) -> None:
    """One encoding, one hint a fresh frame, steps predictions of 16 rows a window, and only fresh rows decoded."""
    made: list[CountingBackend] = []
    engine = engine_of(tiny_lcvd, SamplerPlan(2), backend=lambda model: made.append(CountingBackend(model)) or made[-1])
    backend = made[0]
    backend.__init__(tiny_lcvd)  # forget the warm-up
    pushed(opened(engine), 20)
    assert backend.encoded == 1
    assert backend.hinted == [1, 10, 10]
    assert backend.denoised == [(16, 2)] * 4
    assert backend.decoded == [10, 10]


def test_context_is_kept_from_window_to_window(tiny_lcvd) -> None:
    """The second window depends on what the first one gave."""
    engine = engine_of(tiny_lcvd, stride=4)
    plain, changed = opened(engine), opened(engine)
    expected = pushed(plain, 8)
    for i in range(4):
        changed.push(frame(i))
    renderer = changed._renderer
    assert renderer._kept.shape[0] == 12
    renderer._kept = renderer._kept + 1.0
    out = [made for i in range(4, 8) for made in changed.push(frame(i))]
    assert [f.index for f in out] == list(range(4, 8))
    assert (out[0].rgb != expected[4].rgb).any()


def test_streams_of_one_engine_know_nothing_of_each_other(tiny_lcvd) -> None:
    """Two participants in turn get what each gets alone."""
    engine = engine_of(tiny_lcvd, stride=4)
    alone = pushed(opened(engine), 8)
    a, b = opened(engine), opened(engine, RIGHT)
    mixed = []
    for i in range(8):
        mixed += a.push(frame(i))
        b.push(frame(i))
    assert all((x.rgb == y.rgb).all() for x, y in zip(mixed, alone, strict=True))


def test_what_cannot_be_is_refused_with_words(tiny_lcvd) -> None:
    """No portrait, no face in it, unwarmed, closed, impossible settings, and a clip through relight video."""
    engine = engine_of(tiny_lcvd)
    with pytest.raises(PortraitError, match="portrait"):
        engine.open(StreamConfig(FULL))
    with pytest.raises(ValueError, match="steps=3"):
        opened(engine, steps=3)
    with pytest.raises(ValueError, match="stride=5"):
        opened(engine, stride=5)
    with pytest.raises(ValueError, match="size=100"):
        DiffusionOptions(100)
    faceless = engine_of(tiny_lcvd, blind=tuple(i / 30 for i in range(4)))
    with pytest.raises(PortraitError, match="no face"):
        opened(faceless)
    with pytest.raises(EngineUnavailable, match="not loaded"):
        opened(DiffusionEngine(lambda: EagerBackend(tiny_lcvd)))
    stream = opened(engine)
    stream.close()
    with pytest.raises(StreamClosed):
        stream.prepare(frame(0))
    with pytest.raises(ClipError, match="portrait"):
        relight_clip(engine, FULL, "a.mp4", "b.mp4")
