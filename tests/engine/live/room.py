"""An avatar's owner in front of a live stream with its threads: engines that paint portraits, and a checked camera."""

import threading

import numpy as np

from engine.frames import Frame, Work
from engine.live.device import DeviceThread
from engine.live.output import OutputFrame
from engine.live.state import CAMERA
from engine.live.stream import LiveStream
from engine.protocols import Avatar, EngineTraits, StreamConfig
from tests.engine.fakes import DAY, Clock, FakeEngine, FakeStream, live_stream, picture, until
from tests.engine.live.state_driver import CAMERA_LEVEL, PORTRAIT_LEVEL, STEP_S

QUICK = (0.001, 0.004)  # backoff


class AvatarEngine(FakeEngine):
    """Paints squares of its own level plus the portrait's, of its own size; nothing of the camera is in them."""

    def __init__(self, level: int, side: int = 24, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.level, self.side = level, side
        self.traits = EngineTraits(shows_avatar=True, output_size=(side, side))
        self.portraits: list[int] = []

    def open(self, config: StreamConfig) -> FakeStream:
        assert config.avatar is not None, "an avatar is opened with a portrait"
        base = int(config.avatar.portrait_rgb[0, 0, 0])
        self.portraits.append(base)
        stream = super().open(config)
        render = stream.render

        def painted(work: Work) -> list[Frame]:
            shape = (self.side, self.side, 3)
            rgb = np.full(shape, self.level + base, np.uint8)
            return [Frame(f.index, f.t_s, rgb.copy(), f.arrived_s) for f in render(work)]

        stream.render = painted  # type: ignore[method-assign]
        return stream


class Broken:
    """Raises while it is set."""

    def __init__(self, broken: bool = True) -> None:
        self.broken = broken

    def __call__(self, _: object = None) -> None:
        if self.broken:
            raise RuntimeError("out of memory")


class Room:
    """A camera of one colour, a stream, and every picture that left, each of them checked."""

    def __init__(self, **options: object) -> None:
        self.clock = Clock()
        self.hosts: list[DeviceThread] = []
        self.outputs: list[OutputFrame] = []
        self.options = {"backoff_s": QUICK, **options}
        self.hidden = True

    def host(self, engine: FakeEngine) -> DeviceThread:
        self.hosts.append(DeviceThread(engine, self.clock))
        return self.hosts[-1]

    def enter(self, engine: FakeEngine, fallback: FakeEngine | None = None, level: int = PORTRAIT_LEVEL) -> LiveStream:
        self.stream = live_stream(
            self.host(engine),
            DAY,
            lambda: None,
            self.clock,
            avatar=Avatar(picture(level)),
            fallback=None if fallback is None else self.host(fallback),
            **self.options,  # type: ignore[arg-type]
        )
        return self.stream

    def frame(self, step_s: float = STEP_S) -> None:
        """One picture of the camera; what is due is taken and looked at."""
        self.clock.now += step_s
        self.stream.submit(picture(CAMERA_LEVEL), self.clock.now)
        self.collect()

    def collect(self) -> None:
        while True:
            frame, _ = self.stream.next_output(self.clock.now)
            if frame is None:
                return
            if self.hidden:
                assert not (frame.rgb == CAMERA_LEVEL).any(), f"the camera was shown as {frame.showing}"
                assert frame.showing != CAMERA
            self.outputs.append(frame)

    def until_showing(self, showing: str) -> OutputFrame:
        """Frames come until what goes out is `showing`."""

        def shown() -> bool:
            self.frame()
            threading.Event().wait(0.001)  # lanes and devices have their turn
            return bool(self.outputs) and self.outputs[-1].showing == showing

        until(shown)
        return self.outputs[-1]

    def until_open(self) -> None:
        """Until the engine would take frames; none has come yet, so its state is not ok."""
        until(lambda: self.stream._state.health.state == "ok")

    @property
    def engine(self) -> dict[str, str]:
        return self.stream.snapshot().engine

    def close(self) -> None:
        self.stream.close()
        for host in self.hosts:
            host.close()
