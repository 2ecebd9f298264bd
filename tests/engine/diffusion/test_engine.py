"""engine.diffusion.engine on a tiny random model: windows, seams to the offline sampler, losses, light."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install 'relight-live[lcvd]'")

from engine import EngineConfig, available_engines, make_engine  # noqa: E402
from engine.backends.eager import EagerBackend  # noqa: E402
from engine.diffusion.config import LcvdConfig  # noqa: E402
from engine.diffusion.engine import DiffusionEngine, DiffusionOptions, DiffusionStream  # noqa: E402
from engine.diffusion.latency import CostModel, predicted  # noqa: E402
from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from engine.errors import ClipError, EngineUnavailable, PortraitError, StreamClosed  # noqa: E402
from engine.fit import PORTRAIT_ANCHOR, cover  # noqa: E402
from engine.frames import Frame, Work  # noqa: E402
from engine.live.device import EngineHost  # noqa: E402
from engine.live.overlay import View  # noqa: E402
from engine.live.stream import LiveStream  # noqa: E402
from engine.offline.relight_clip import relight_clip  # noqa: E402
from engine.protocols import Avatar, StreamConfig  # noqa: E402
from lcvd.hints import render_hints  # noqa: E402
from lcvd.lighting.estimate import estimate_lighting  # noqa: E402
from lcvd.motion import FaceMotion  # noqa: E402
from lcvd.networks.schedule import few_step_sigmas  # noqa: E402
from lcvd.sampling.pipeline import relight_frames  # noqa: E402
from lcvd.types import Lighting  # noqa: E402
from tests.engine.fakes import Clock, is_open, until  # noqa: E402
from tests.engine.synthetic_person import LEFT, RIGHT, DrawnMatte, ScriptedTracker, portrait  # noqa: E402
from tests.rounding import rounding  # noqa: E402

SIZE, FPS = 64, 25
FAST = SamplerPlan(2, guidance="none")
CAMERA = (48, 64)
FULL = replace(LEFT, strength=1.0)
COST = CostModel((0.05, 0.09), 0.004)  # what these tests pretend was measured: the real one takes time


@pytest.fixture(autouse=True)
def _light_estimated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All streams here have one portrait; its light takes 0.2 s to estimate, more than a window takes."""
    monkeypatch.setattr("engine.reference.estimate_lighting", _estimated)


_ESTIMATES: dict[bytes, Lighting] = {}


def _estimated(rgb, face) -> Lighting:
    key = rgb.tobytes() + face.vertices_px.tobytes()
    if key not in _ESTIMATES:
        _ESTIMATES[key] = estimate_lighting(rgb, face)
    return _ESTIMATES[key]


class TurningTracker(ScriptedTracker):
    """The centred face, nodding with time, so that every frame has another hint; blind at the given times."""

    def track(self, rgb, t_s):
        face = super().track(rgb, t_s)
        if face is None:
            return None
        c, s = np.cos(0.6 * np.sin(3 * t_s)), np.sin(0.6 * np.sin(3 * t_s))
        return replace(face, rotation=np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32))


class CountingBackend(EagerBackend):
    """Counts what is asked of it."""

    def __init__(self, model) -> None:
        super().__init__(model)
        self.encoded, self.denoised, self.decoded, self.hinted = 0, [], [], []
        self.calls, self.latents = [], []  # asks in each call; what was decoded

    def encode(self, rgb, mask, noise):
        self.encoded += 1
        return super().encode(rgb, mask, noise)

    def features(self, hints):
        self.hinted.append(len(hints))
        return super().features(hints)

    def denoise(self, asks):
        self.denoised += [(len(ask.x), ask.branches) for ask in asks]
        self.calls.append(len(asks))
        return super().denoise(asks)

    def decode(self, latents):
        self.decoded.append(len(latents))
        self.latents.append(latents.clone())
        return super().decode(latents)


def engine_of(model, plan=FAST, stride=10, blind=(), backend=EagerBackend, batch=1) -> DiffusionEngine:
    engine = DiffusionEngine(
        lambda: backend(model),
        DiffusionOptions(SIZE, stride, plan, batch=batch),
        lambda: TurningTracker(blind),
        DrawnMatte,
        measure=lambda backend, size: COST,
    )
    engine.warmup()
    return engine


def avatar(**kwargs) -> Avatar:
    return Avatar(portrait((96, 96)), **kwargs)


def opened(engine: DiffusionEngine, lighting: Lighting = FULL, **kwargs) -> DiffusionStream:
    return engine.open(StreamConfig(lighting, avatar=avatar(**kwargs)))


def frame(i: int, size: tuple[int, int] = CAMERA) -> Frame:
    return Frame(i, i / FPS, np.full((*size, 3), i % 256, np.uint8), 7.0 + i)


def pushed(stream: DiffusionStream, count: int, lights: dict[int, Lighting] | None = None) -> list[Frame]:
    out = []
    for i in range(count):
        if lights and i in lights:
            stream.set_lighting(lights[i])
        out += stream.push(frame(i))
    stream.close()
    return out


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


def test_light_glides_frame_by_frame(tiny_lcvd) -> None:
    """A new light reaches the frames from where it was set, each with its own share, and none before."""
    engine = engine_of(tiny_lcvd)
    stream = opened(engine)
    works = []
    for i in range(20):
        if i == 13:
            stream.set_lighting(RIGHT)
        work = stream.prepare(frame(i))
        works += [work] if work else []
    levels = [light.directionals[0].direction[0] for work in works for light in work.lightings]
    assert levels[:13] == [levels[0]] * 13
    assert (np.diff(levels[13:19]) > 0).all()
    assert levels[13] < levels[18]
    still = opened(engine)
    hints = [w.host.hints for i in range(20) if (w := still.prepare(frame(i)))]
    assert (works[0].host.hints == hints[0]).all()
    assert (works[1].host.hints[:3] == hints[1][:3]).all()
    assert (works[1].host.hints[9] != hints[1][9]).any()


def test_strength_zero_is_the_portraits_own_light(tiny_lcvd) -> None:
    """ "Original" does not black the hint out: it draws the light the portrait was taken in."""
    stream = opened(engine_of(tiny_lcvd, blind=tuple(i / FPS for i in range(5, 100))), replace(LEFT, strength=0.0))
    work = next(w for i in range(5, 15) if (w := stream.prepare(frame(i))))
    assert all((hint == stream.reference.hint).all() for hint in work.host.hints)


def test_a_lost_face_does_not_stop_the_picture(tiny_lcvd) -> None:
    """Losing the driver holds the pose while the light goes on; frames keep coming and none is untouched or black."""
    blind = tuple(i / FPS for i in range(12, 34))
    stream = opened(engine_of(tiny_lcvd, SamplerPlan(1, guidance="none"), blind=blind))
    hints, out = [], []
    for i in range(50):
        work = stream.prepare(frame(i))
        if work:
            hints.extend(work.host.hints)
            assert [face is None for face in work.faces] == [f.t_s in blind for f in work.frames]
            out += stream.render(work)
    assert len(out) == 50
    assert all((hints[i] == hints[11]).all() for i in range(12, 34))
    assert (hints[34] == hints[11]).all()  # the first frame back has not moved yet
    assert (hints[45] != hints[11]).any()
    levels = np.array([f.rgb.mean() for f in out])
    change = np.abs(np.diff(levels))
    assert change[30:40].max() <= 3 * max(np.delete(change, range(30, 40)).max(), 0.5)


def test_a_driver_nobody_ever_saw_gives_the_resting_portrait(tiny_lcvd) -> None:
    """No face from the start: the avatar stands still in its own pose, lit as asked."""
    stream = opened(engine_of(tiny_lcvd, blind=tuple(i / FPS for i in range(5, 100))))
    work = next(w for i in range(5, 15) if (w := stream.prepare(frame(i))))
    rest = render_hints(stream.reference.face, FULL, (SIZE, SIZE)).rgb
    assert all((hint == rest).all() for hint in work.host.hints)
    assert len(stream.render(work)) == 10


def test_the_camera_may_change_its_size(tiny_lcvd) -> None:
    """Window, pose and portrait go on; the avatar's size stays."""
    stream = opened(engine_of(tiny_lcvd, stride=4))
    out = [made for i in range(12) for made in stream.push(frame(i, CAMERA if i < 7 else (64, 48)))]
    assert [f.index for f in out] == list(range(12))
    assert {f.rgb.shape for f in out} == {(SIZE, SIZE, 3)}


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


def works_of(stream: DiffusionStream, windows: int) -> list[Work]:
    """The host half of the first `windows` windows."""
    works = (stream.prepare(frame(i)) for i in range(windows * 4))
    return [work for work in works if work]


def together(engine: DiffusionEngine, *works) -> dict[int, list[Frame] | Exception]:
    """What render_together makes of (stream, work) that all wait at once."""
    waiting = list(works)

    def take(free: int):
        taken = waiting[:free]
        del waiting[:free]
        return taken

    return dict(engine.render_together(take))


@pytest.mark.parametrize(
    ("plans", "windows"), [(({"steps": 2}, {"steps": 2}), 1), (({"steps": 2}, {"steps": 1, "omega": 2.0}), 2)]
)
def test_a_window_is_the_same_alone_and_shared(tiny_lcvd, plans, windows: int) -> None:
    """Two participants, two portraits, in shared calls of equal or other steps: what each has alone, but for rounding.

    A neighbour's portrait, light or noise lies more than 3 away, a light or level wrong by a thousandth 6e-3; the limit
    is below 1e-3, and kernels of five kinds stay below 3e-5.
    """
    made: list[CountingBackend] = []

    def backend(model):
        made.append(CountingBackend(model))
        return made[0]

    engine = engine_of(tiny_lcvd, SamplerPlan(2), stride=4, backend=backend, batch=2)
    portraits = (portrait((96, 96)), portrait((96, 96))[..., ::-1] // 2)  # of another colour
    people = [
        StreamConfig(light, avatar=Avatar(rgb, **plan))
        for light, rgb, plan in zip((FULL, RIGHT), portraits, plans, strict=True)
    ]
    alone, kept = [], []
    for config in people:
        stream = engine.open(config)
        made[0].latents.clear()
        alone.append([stream.render(work) for work in works_of(stream, windows)])
        kept.append(list(made[0].latents))
    streams = [engine.open(config) for config in people]
    works = [works_of(stream, windows) for stream in streams]
    for window in range(windows):
        made[0].calls.clear()
        made[0].latents.clear()
        got = together(engine, *zip(streams, [own[window] for own in works], strict=True))
        ended = sorted(range(2), key=lambda i: plans[i]["steps"])  # the shorter one is decoded first
        for i in range(2):
            latents = made[0].latents[ended.index(i)]
            limit = rounding(tiny_lcvd.denoiser, kept[i][window], calls=2 * windows)
            torch.testing.assert_close(latents, kept[i][window], atol=limit, rtol=0)
            for a, b in zip(got[i], alone[i][window], strict=True):
                assert a.index == b.index
                assert np.abs(a.rgb.astype(int) - b.rgb).max() <= 1
        few, many = (plans[i]["steps"] for i in ended)
        assert made[0].calls == [2] * few + [1] * (many - few)


def test_a_participants_trouble_is_its_own(tiny_lcvd) -> None:
    """A window that cannot be rendered ends alone; the other's pictures are those it has alone."""
    engine = engine_of(tiny_lcvd, stride=4, batch=2)
    good, bad = opened(engine), opened(engine)
    (work,), (broken,) = works_of(good, 1), works_of(bad, 1)
    broken = replace(broken, host=replace(broken.host, hints=broken.host.hints[:, :-8]))
    got = together(engine, (bad, broken), (good, work))
    assert isinstance(got[0], Exception)
    assert [f.index for f in got[1]] == list(range(4))


def test_three_live_participants_share_the_device(tiny_lcvd) -> None:
    """Through threads and mailboxes, with two places: everyone's frames come out relit, and some calls were shared."""
    made: list[CountingBackend] = []

    def backend(model):
        made.append(CountingBackend(model))
        return made[0]

    host = EngineHost(engine_of(tiny_lcvd, stride=4, backend=backend, batch=2))
    assert host.wait_ready(60)
    streams = [LiveStream(host, FULL, lambda: None, avatar=avatar(), stall_s=60.0) for _ in range(3)]
    until(lambda: all(is_open(stream) for stream in streams))
    made[0].calls.clear()
    relit, sent = [0, 0, 0], 0

    def everyone_and_shared() -> bool:
        nonlocal sent
        for i, stream in enumerate(streams):
            stream.submit(frame(sent).rgb, sent / FPS)
            while (got := stream.next_output(time.monotonic())[0]) is not None:
                relit[i] += got.relit
        sent += 1
        time.sleep(0.005)
        return min(relit) >= 4 and 2 in made[0].calls

    until(everyone_and_shared)
    assert max(made[0].calls) == 2
    for stream in streams:
        stream.close()
    host.close()


def test_the_delay_is_predicted_from_what_was_measured(tiny_lcvd) -> None:
    """Steps, branches and stride of the participant at the warm-up's cost, corrected by the pace of real windows."""
    cold = DiffusionEngine(lambda: EagerBackend(tiny_lcvd), DiffusionOptions(SIZE))
    assert cold.predict(None, 25.0) is None
    assert cold.backend == ""
    engine = engine_of(tiny_lcvd)
    assert engine.backend == "eager"
    assert engine.reasons == []
    own = engine.predict(None, 25.0)
    assert own == predicted(25.0, 10, 2 * 0.05 + 10 * 0.004)
    fine = engine.predict(Avatar(np.zeros((8, 8, 3), np.uint8), steps=4, omega=3.0, stride=8), 25.0, streams=2)
    # The plan's guidance is "none", which no ω brings back: one branch.
    assert fine == predicted(25.0, 8, 4 * 0.05 + 8 * 0.004, streams=2)
    staggered = engine.predict(Avatar(np.zeros((8, 8, 3), np.uint8), mode="staggered"), 25.0)
    assert staggered == predicted(25.0, 4, 0.05 + 4 * 0.004, flying=2)
    with pytest.raises(ValueError, match="steps=3"):
        engine.predict(Avatar(np.zeros((8, 8, 3), np.uint8), steps=3), 25.0)
    stream = opened(engine)
    pushed(stream, 10)
    assert engine.predict(None, 25.0) == own  # the first window also encodes the portrait
    for _ in range(30):
        stream.on_window(0.0, 3 * (2 * 0.05 + 10 * 0.004))
        engine._calibration._last_end_s = float("-inf")
    slower = engine.predict(None, 25.0)
    assert slower.delay_s == pytest.approx(0.36 + 3 * 0.14)
    assert slower.fps == pytest.approx(10 / 0.42)


def test_the_warm_up_measures(tiny_lcvd) -> None:
    """Real figures of the tiny model: both branches cost more than one, and nothing is free."""
    engine = DiffusionEngine(lambda: EagerBackend(tiny_lcvd), DiffusionOptions(SIZE))
    engine.warmup()
    prediction = engine.predict(None, 25.0)
    assert prediction is not None
    assert prediction.delay_s > 0.36


def test_the_engine_of_the_menu_runs_a_chain(tiny_lcvd_folder) -> None:
    """make_engine("lcvd") on a CPU: eager, no reasons, a warm-up limit of the whole chain, and nothing left behind."""
    before = threading.active_count()
    engine = make_engine("lcvd", EngineConfig(lcvd=LcvdConfig(tiny_lcvd_folder, size=64)))
    assert engine.traits.batch_limit == (2 if torch.cuda.is_available() else 1)
    engine.warmup()
    if not torch.cuda.is_available():
        assert (engine.backend, engine.reasons) == ("eager", [])
        compiled = make_engine("lcvd", EngineConfig(lcvd=LcvdConfig(tiny_lcvd_folder, "compiled")))
        assert engine.traits.warmup_limit_s < compiled.traits.warmup_limit_s
    engine.close()
    until(lambda: threading.active_count() <= before)
    with pytest.raises(ValueError, match="backend='fastest'"):
        make_engine("lcvd", EngineConfig(lcvd=LcvdConfig(tiny_lcvd_folder, "fastest")))


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


def live(
    engine,
    count: int,
    lights: dict[int, Lighting],
    sizes=lambda i: CAMERA,
    view: View | None = None,
    given_at: dict[int, int] | None = None,  # filled: how many frames had been given when each came out
):
    """Through threads, mailbox and pacer, one frame after the other was taken."""
    host = EngineHost(engine)
    assert host.wait_ready(60)
    stream = LiveStream(host, lights[0], threading.Event().set, avatar=avatar(), stall_s=60.0)
    if view:
        stream.set_view(view)
    taken: list[int] = []
    original = DiffusionStream.prepare

    def prepare(self, given):
        work = original(self, given)
        taken.append(given.index)
        return work

    out = []

    def collect() -> int:
        while (got := stream.next_output(time.monotonic())[0]) is not None:
            if got.relit:
                out.append(got)
                if given_at is not None:
                    given_at[got.index] = len(taken)
            else:
                assert got.showing == "portrait"  # before the first window
        return len(out)

    DiffusionStream.prepare = prepare
    try:
        until(lambda: is_open(stream))
        for i in range(count):
            if i in lights:
                stream.set_lighting(lights[i])
            stream.submit(frame(i, sizes(i)).rgb, i / FPS)
            until(lambda n=i: len(taken) > n)
            if (i + 1) % engine.options.stride == 0:
                until(lambda n=i: collect() > n)
        snapshot = stream.snapshot()
    finally:
        DiffusionStream.prepare = original
        stream.close()
        host.close()
    return out, snapshot


def test_live_equals_offline(tiny_lcvd) -> None:
    """push and the live worker give the same bytes, with a light change and a lost face in the middle."""
    blind = tuple(i / FPS for i in range(14, 18))
    lights = {0: FULL, 6: RIGHT}
    engine = engine_of(tiny_lcvd, stride=8, blind=blind)
    expected = pushed(opened(engine), 24, lights)
    got, snapshot = live(engine, 24, lights)
    assert [f.index for f in got] == list(range(24))
    for a, b in zip(got, expected, strict=True):
        assert (a.rgb == b.rgb).all()
    assert snapshot.drops == 0
    assert snapshot.engine["name"] == "lcvd"
    assert {"track", "hint", "features", "denoise", "decode"} <= set(snapshot.stages)


def test_a_new_light_reaches_the_glass_within_one_window(tiny_lcvd) -> None:
    """Live: the first picture it changes is of the window that was filling when it was set, and left with it."""
    engine, set_at, given_at = engine_of(tiny_lcvd, stride=4), 5, {}
    plain = pushed(opened(engine), 12)
    lit, _ = live(engine, 12, {0: FULL, set_at: RIGHT}, given_at=given_at)
    changed = [a.index for a, b in zip(lit, plain, strict=True) if (a.rgb != b.rgb).any()]
    assert 4 <= changed[0] <= set_at + 1  # a window's rows see each other, so its frame 4 may hear of 6's light
    assert changed[-1] == 11
    assert given_at[set_at + 1] - set_at <= engine.options.stride


def test_live_goes_on_through_a_change_of_size(tiny_lcvd) -> None:
    """The live core does not open the stream again, no frame leaves untouched, and the split shows the portrait."""
    engine = engine_of(tiny_lcvd, stride=4)
    got, _ = live(engine, 12, {0: FULL}, lambda i: CAMERA if i < 7 else (40, 80), View(split=0.5))
    assert [f.index for f in got] == list(range(12))
    assert {f.rgb.shape for f in got} == {(SIZE, SIZE, 3)}
    portrait = cover(avatar().portrait_rgb, (SIZE, SIZE), PORTRAIT_ANCHOR)
    for made in got:
        assert (made.rgb[:, : SIZE // 2 - 2] == portrait[:, : SIZE // 2 - 2]).all()


def test_the_delay_of_a_live_run_does_not_grow(tiny_lcvd) -> None:
    """100 frames at 25 a second through mailbox, host, engine and pacer: the last are as late as the first windows'."""
    clock = Clock()
    host = EngineHost(engine_of(tiny_lcvd, SamplerPlan(1, guidance="none"), stride=4, batch=2), clock)
    assert host.wait_ready(60)
    stream = LiveStream(host, FULL, lambda: None, clock, avatar=avatar(), stall_s=60.0)
    until(lambda: is_open(stream))
    delays: list[float] = []

    def collect() -> None:
        while (got := stream.next_output(clock.now)[0]) is not None:
            if got.relit:
                delays.append(clock.now - got.arrived_s)

    for i in range(100):
        stream.submit(frame(i).rgb, i / FPS)
        until(lambda n=i: len(stream.stats._stages.get("prepare", ())) > n)
        if i % 4 == 3:
            until(lambda n=i: len(stream.stats._stages.get("view", ())) > n // 4)
        for _ in range(8):
            collect()
            clock.now += 1 / FPS / 8
    assert len(delays) >= 92
    assert max(delays[-30:]) <= max(delays[12:42]) + 0.006  # the clock's step here is 5 ms
    assert max(delays) <= 3 / FPS + 0.06
    assert stream.snapshot().drops == 0
    stream.close()
    host.close()


def test_without_a_portrait_the_participant_is_told(tiny_lcvd) -> None:
    """The live stream fails with the remedy's words, no camera passes; a portrait given later brings the avatar."""
    host = EngineHost(engine_of(tiny_lcvd))
    assert host.wait_ready(60)
    stream = LiveStream(host, FULL, lambda: None, backoff_s=(0.01, 0.01))
    until(lambda: stream.snapshot().engine["state"] == "failed")
    assert "portrait" in stream.snapshot().engine["message"]
    stream.submit(frame(0).rgb, 0.0)
    assert stream.next_output(time.monotonic())[0] is None
    stream.set_avatar(avatar())
    count = 0

    def relit() -> bool:
        nonlocal count
        count += 1
        stream.submit(frame(count).rgb, count / FPS)
        got, _ = stream.next_output(time.monotonic())
        return got is not None and got.relit and got.rgb.shape == (SIZE, SIZE, 3)

    until(relit)
    stream.close()
    host.close()


def test_the_engine_says_how_long_a_window_takes(tiny_lcvd) -> None:
    """The live core waits for a window and not for a frame before it calls the engine behind."""
    engine = engine_of(tiny_lcvd)
    assert engine.traits.output_size == (SIZE, SIZE)
    assert engine.traits.stall_s > engine.options.stride / 10


def test_the_menu_says_why_lcvd_cannot_run(tiny_lcvd_folder, tmp_path, monkeypatch) -> None:
    """Without weights it is greyed out with the reason; with a tiny model's folder it can be made."""
    monkeypatch.setattr("lcvd.weights.location.weights_home", lambda: tmp_path)
    info = {i.name: i for i in available_engines()}["lcvd"]
    assert not info.available
    assert "weights" in info.reason
    with pytest.raises(EngineUnavailable, match="weights"):
        make_engine("lcvd")
    (tmp_path / "lcvd-published").symlink_to(tiny_lcvd_folder)
    monkeypatch.setattr("lcvd.weights.load.weights_home", lambda: tmp_path)
    assert {i.name: i for i in available_engines()}["lcvd"].available
    assert make_engine("lcvd", EngineConfig(lcvd=LcvdConfig(tiny_lcvd_folder))).name == "lcvd"
