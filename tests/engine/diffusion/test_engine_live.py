"""engine.diffusion.engine through the live core: threads, mailbox and pacer."""

import threading
import time

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.diffusion.engine import DiffusionStream  # noqa: E402
from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from engine.fit import PORTRAIT_ANCHOR, cover  # noqa: E402
from engine.live.device import DeviceThread  # noqa: E402
from engine.live.overlay import View  # noqa: E402
from lcvd.types import Lighting  # noqa: E402
from tests.engine.diffusion.tiny_engine import (  # noqa: E402
    CAMERA,
    FPS,
    FULL,
    SIZE,
    avatar,
    engine_of,
    frame,
    opened,
    pushed,
)
from tests.engine.fakes import Clock, change, is_open, live_stream, until  # noqa: E402
from tests.engine.synthetic_person import RIGHT  # noqa: E402


def live(
    engine,
    count: int,
    lights: dict[int, Lighting],
    sizes=lambda i: CAMERA,
    view: View | None = None,
    given_at: dict[int, int] | None = None,  # filled: how many frames had been given when each came out
):
    """Through threads, mailbox and pacer, one frame after the other was taken."""
    host = DeviceThread(engine)
    assert host.wait_ready(60)
    stream = live_stream(host, lights[0], threading.Event().set, avatar=avatar(), stall_s=60.0)
    if view:
        change(stream, view=view)
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
                change(stream, lighting=lights[i])
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
    host = DeviceThread(engine_of(tiny_lcvd, SamplerPlan(1, guidance="none"), stride=4, batch=2), clock)
    assert host.wait_ready(60)
    stream = live_stream(host, FULL, lambda: None, clock, avatar=avatar(), stall_s=60.0)
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
    host = DeviceThread(engine_of(tiny_lcvd))
    assert host.wait_ready(60)
    stream = live_stream(host, FULL, lambda: None, backoff_s=(0.01, 0.01))
    until(lambda: stream.snapshot().engine["state"] == "failed")
    assert "portrait" in stream.snapshot().engine["message"]
    stream.submit(frame(0).rgb, 0.0)
    assert stream.next_output(time.monotonic())[0] is None
    change(stream, avatar=avatar())
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
