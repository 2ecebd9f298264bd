"""The same clip through `push` and through the live stream, without overload, gives identical frames."""

from collections.abc import Callable

import numpy as np
import pytest

from engine import EngineConfig, make_engine
from engine.bench.sample_clip import load_portrait, sample_frame
from engine.frames import Frame
from engine.live.device import DeviceThread
from engine.protocols import Engine, StreamConfig
from lcvd.errors import LcvdError
from lcvd.lighting.presets import preset
from lcvd.types import Lighting
from tests.engine.fakes import Clock, FakeEngine, change, live_stream, until

FPS = 30
TICK_S = 0.002  # well below what the pacer calls late


def clip(count: int, size: tuple[int, int] = (240, 320)) -> list[np.ndarray]:
    portrait = load_portrait()
    return [sample_frame(portrait, size, i / FPS) for i in range(count)]


def offline(engine: Engine, pictures: list[np.ndarray], lights: dict[int, Lighting]) -> list[np.ndarray]:
    """Frame by frame through push; `lights` maps a frame number to the light set before it."""
    stream = engine.open(StreamConfig(lights[0]))
    out = []
    for i, rgb in enumerate(pictures):
        if i in lights:
            stream.set_lighting(lights[i])
        out += [frame.rgb for frame in stream.push(Frame(i, i / FPS, rgb))]
    stream.close()
    return out


def through_live(engine: Engine, pictures: list[np.ndarray], lights: dict[int, Lighting]) -> list[np.ndarray]:
    """Through threads, mailbox, pacer and all; each frame is sent once the engine has taken the one before.

    Under a clock of its own: the pacer gives up frames for which nobody comes in time, as on a busy machine.
    """
    clock = Clock()
    host = DeviceThread(engine, clock)
    assert host.wait_ready(120)
    stream = live_stream(host, lights[0], lambda: None, clock, stall_s=60.0)
    until(lambda: stream.snapshot().engine["state"] == "ok")
    out: list[np.ndarray] = []

    def collect() -> None:
        clock.now += TICK_S
        while True:
            frame, _ = stream.next_output(clock.now)
            if frame is None:
                return
            assert frame.relit
            out.append(frame.rgb)

    window = getattr(engine, "window", 1)
    for i, rgb in enumerate(pictures):
        if i in lights:
            change(stream, lighting=lights[i])
        stream.submit(rgb, i / FPS)
        if (i + 1) % window == 0:
            until(lambda n=i: collect() or len(out) > n)
        else:
            until(lambda n=i: len(engine.prepared) > n)  # type: ignore[attr-defined]
        assert stream.snapshot().drops == 0
    stream.close()
    host.close()
    return out


def stateful() -> Engine:
    return FakeEngine()


def windowed() -> Engine:
    return FakeEngine(window=4)


def passthrough() -> Engine:
    return make_engine("passthrough")


def ratio() -> Engine:
    try:
        engine = make_engine("ratio", EngineConfig(parts="off"))  # live, a look counts from when it ends
        engine.warmup()
    except LcvdError as error:
        pytest.skip(f"the ratio engine cannot run here: {error}")
    return engine


@pytest.mark.parametrize("make", [passthrough, stateful, windowed, ratio])
def test_live_equals_offline(make: Callable[[], Engine]) -> None:
    """Every frame, with a light change in the middle, is identical bit for bit."""
    pictures = clip(24)
    lights = {0: preset("rembrandt-left").lighting, 8: preset("split-right").lighting}
    expected = offline(make(), pictures, lights)
    got = through_live(make(), pictures, lights)
    assert len(got) == len(expected) == len(pictures)
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        assert np.array_equal(a, b), f"frame {i} differs by {np.abs(a.astype(int) - b).max()}"
