"""Engines that misbehave on purpose, and a hand that feeds them. Nothing here waits by the clock on the wall."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame, Work
from engine.live.controls import Controls, EnginePair, Placeholder
from engine.live.device import DeviceThread
from engine.live.stream import LiveStream, OutputFrame
from engine.protocols import Avatar, Engine, EngineTraits, StreamConfig
from lcvd.types import Lighting

DAY = Lighting("day")
NIGHT = Lighting("night")
PATIENCE_S = 60.0  # a wait this long means the test failed; machines may be very busy


class Clock:
    """Moves when told."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeEngine(Engine):
    """Paints every frame with `paint`; the hooks raise, sleep or wait where a test wants trouble."""

    traits = EngineTraits()

    def __init__(
        self,
        *,
        on_prepare: Callable[[Frame], None] = lambda frame: None,
        on_render: Callable[[Work], None] = lambda work: None,
        on_warmup: Callable[[], None] = lambda: None,
        on_open: Callable[[], None] = lambda: None,
        window: int = 1,
        name: str = "fake",
        add: int = 100,
        result: Callable[[list[Frame]], list[Frame]] = lambda frames: frames,
    ) -> None:
        self.name = name
        self.window = window
        self.add = add
        self.on_prepare, self.on_render, self.on_warmup, self.on_open = on_prepare, on_render, on_warmup, on_open
        self.result = result
        self.opened = 0
        self.closed_streams = 0
        self.closed = False
        self.prepared: list[int] = []
        self.lights: list[str] = []
        self.configs: list[StreamConfig] = []

    def open(self, config: StreamConfig) -> "FakeStream":
        self.on_open()
        self.opened += 1
        self.configs.append(config)
        return FakeStream(self, config)

    def warmup(self) -> None:
        self.on_warmup()

    def close(self) -> None:
        self.closed = True


class FakeStream:
    """Adds a constant, and the number of frames it has seen: what it gives depends on every frame before."""

    def __init__(self, engine: FakeEngine, config: StreamConfig) -> None:
        self._engine = engine
        self._lighting = config.lighting
        self._seen = 0
        self._held: list[Frame] = []

    def prepare(self, frame: Frame) -> Work | None:
        self._engine.on_prepare(frame)
        self._engine.prepared.append(frame.index)
        self._engine.lights.append(self._lighting.name)
        self._seen += 1
        self._held.append(frame)
        if len(self._held) < self._engine.window:
            return None
        frames, self._held = tuple(self._held), []
        return Work(frames, (None,) * len(frames), (self._lighting,) * len(frames), payload=self._seen)

    def render(self, work: Work) -> list[Frame]:
        self._engine.on_render(work)
        made = [
            Frame(f.index, f.t_s, f.rgb + np.uint8((self._engine.add + work.payload) % 256), f.arrived_s)
            for f in work.frames
        ]
        return self._engine.result(made)

    def push(self, frame: Frame) -> list[Frame]:
        work = self.prepare(frame)
        return [] if work is None else self.render(work)

    def set_lighting(self, lighting: Lighting) -> None:
        self._lighting = lighting

    def close(self) -> None:
        self._engine.closed_streams += 1


class Gate:
    """Holds whoever passes while it is shut."""

    def __init__(self, shut: bool = False) -> None:
        self._open = threading.Event()
        self.shut = shut
        self.waiting = 0

    def __call__(self, _: object = None) -> None:
        if self.shut:
            self.waiting += 1
            self._open.wait(30)
            self.waiting -= 1

    def open(self) -> None:
        self.shut = False
        self._open.set()


def picture(value: int = 0, height: int = 12, width: int = 16) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("what the test waits for did not happen")
        time.sleep(0.001)


def live_stream(
    host: DeviceThread,
    lighting: Lighting,
    on_output: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
    *,
    avatar: Avatar | None = None,
    fallback: DeviceThread | None = None,
    **options: object,
) -> LiveStream:
    """A live stream with these controls; the whole portrait is its placeholder."""
    controls = Controls(EnginePair(host, fallback), lighting, avatar=avatar, placeholder=placeholder_of(avatar))
    return LiveStream(controls, on_output, clock, **options)  # type: ignore[arg-type]


def change(stream: LiveStream, **controls: object) -> None:
    """Apply the stream's controls with these changes; a new portrait brings its placeholder."""
    if "avatar" in controls:
        controls.setdefault("placeholder", placeholder_of(controls["avatar"]))  # type: ignore[arg-type]
    stream.apply(replace(stream.controls, **controls))  # type: ignore[arg-type]


def switch(stream: LiveStream, host: DeviceThread, fallback: DeviceThread | None = None) -> None:
    """Ask for another engine."""
    change(stream, engine=EnginePair(host, fallback))


def placeholder_of(avatar: Avatar | None) -> Placeholder | None:
    return None if avatar is None else Placeholder(avatar.portrait_rgb)


def opened(engine: FakeEngine, **options: object) -> "Hand":
    """A stream whose engine is ready."""
    hand = Hand(engine, **options)  # type: ignore[arg-type]
    until(lambda: hand.state() == "ok")
    return hand


class Hand:
    """Feeds a LiveStream and collects what comes out, under a clock of its own."""

    def __init__(self, engine: FakeEngine, clock: Clock | None = None, **options: object) -> None:
        self.clock = clock or Clock()
        self.engine = engine
        self.host = DeviceThread(engine, self.clock)
        self.told = 0
        self.outputs: list[OutputFrame] = []
        self.stream = live_stream(self.host, DAY, self._tell, self.clock, **options)  # type: ignore[arg-type]
        self.sent = 0

    def _tell(self) -> None:
        self.told += 1

    def state(self) -> str:
        return self.stream.snapshot().engine["state"]

    def collect(self) -> None:
        """Take what is due."""
        while True:
            frame, _ = self.stream.next_output(self.clock.now)
            if frame is None:
                return
            self.outputs.append(frame)

    def send(self, value: int | None = None, step_s: float = 1 / 30) -> None:
        """One frame, `step_s` after the last."""
        self.clock.now += step_s
        self.stream.submit(picture(self.sent % 100 if value is None else value), self.clock.now)
        self.sent += 1

    def send_and_get(self, n: int = 1, step_s: float = 1 / 30) -> None:
        """`n` frames, each after the one before has come out."""
        for _ in range(n):
            self.send(step_s=step_s)
            self.get(self.outputs[-1].index + 1 if self.outputs else 0)

    def get(self, index: int) -> OutputFrame:
        """Wait until frame `index` (or a later one) came out."""

        def came() -> bool:
            self.collect()
            return bool(self.outputs) and self.outputs[-1].index >= index

        until(came)
        return self.outputs[-1]

    def close(self) -> None:
        self.stream.close()
        self.host.close()


def lanes_and_devices() -> list[threading.Thread]:
    """The threads of the live core that are alive."""
    return [t for t in threading.enumerate() if t.name.startswith("relight-")]


def is_open(stream: LiveStream) -> bool:
    """Frames are fed; the page says "ok" only once the avatar was seen."""
    return stream._state.health.state == "ok"
