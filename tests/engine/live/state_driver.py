"""Drives a StreamState by hand: events in, actions performed into lists, a number for the clock; no engine, no thread.

The driver draws results with the real overlay and sends pictures through the real pacer, which are Sans-I/O too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame, Work
from engine.live.actions import Action, Clear, Close, Discard, Feed, LaneRef, Open, Reset, Show
from engine.live.controls import Controls, EnginePair
from engine.live.output import OutputFrame
from engine.live.pacer import Pacer
from engine.live.state import CAMERA, StreamState
from engine.protocols import Avatar, EngineTraits
from engine.stats import Stats
from tests.engine.fakes import DAY, picture, placeholder_of

CAMERA_LEVEL = 211  # no fake avatar and no portrait has it
PORTRAIT_LEVEL, OTHER_PORTRAIT_LEVEL = 40, 60
STEP_S = 1 / 30
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 4.0  # before a failed engine is opened again


@dataclass(frozen=True, slots=True, eq=False)
class FakeDevice:
    """An engine as the state sees it, and the level of its pictures."""

    name: str = "fake"
    traits: EngineTraits = field(default_factory=EngineTraits)
    level: int = 100  # added to the frame's, or to the portrait's where it shows an avatar


def avatar_device(name: str, level: int, side: int = 24, **traits: object) -> FakeDevice:
    """An engine that animates a portrait and gives pictures of its own size."""
    return FakeDevice(name, EngineTraits(shows_avatar=True, output_size=(side, side), **traits), level)  # type: ignore[arg-type]


class StateDriver:
    """One participant. While `hidden`, no Show may hold a picture of the camera."""

    def __init__(
        self, device: FakeDevice, fallback: FakeDevice | None = None, portrait: int | None = None, **options: object
    ) -> None:
        self.now = 100.0
        self.hidden = device.traits.shows_avatar
        self.late = False  # the state suspects that an engine hangs
        self.discarded = 0
        self.changes = 0  # pictures by another engine than the one before
        self.stats = Stats(lambda: self.now)
        self.pacer: Pacer[OutputFrame] = Pacer()
        self.outputs: list[OutputFrame] = []
        self.lanes: list[LaneRef] = []  # opened and not closed
        self.fed: dict[LaneRef, list[Frame]] = {}
        avatar = None if portrait is None else Avatar(picture(portrait))
        options.setdefault("backoff_s", (FIRST_WAIT_S, LONGEST_WAIT_S))
        controls = Controls(EnginePair(device, fallback), DAY, avatar=avatar, placeholder=placeholder_of(avatar))
        self.state = StreamState(controls, **options)  # type: ignore[arg-type]
        self.perform()

    # ---- lanes and pictures

    @property
    def main(self) -> LaneRef:
        return self.state.lane

    @property
    def fallback(self) -> LaneRef:
        assert self.state.fallback is not None
        assert self.state.fallback.lane is not None
        return self.state.fallback.lane

    @property
    def following(self) -> LaneRef:
        assert self.state.next_lane is not None
        return self.state.next_lane

    @property
    def engine(self) -> dict[str, str]:
        return self.state.engine

    @property
    def seen(self) -> list[tuple[str, int]]:
        """`showing` and level of every picture that was sent."""
        return [(output.showing, int(output.rgb[0, 0, 0])) for output in self.outputs]

    # ---- the participant

    def frame(self, value: int = CAMERA_LEVEL, step_s: float = STEP_S, t_s: float | None = None) -> list[Action]:
        """One picture of the camera, `step_s` after the last; what is due is sent. Returns what was done."""
        self.now += step_s
        self.late = self.state.frame(picture(value), self.now if t_s is None else t_s, self.now)
        actions = self.perform()
        self.collect()
        return actions

    def step(self, *lanes: LaneRef, n: int = 1, step_s: float = STEP_S) -> None:
        """`n` frames, each rendered at once by those of `lanes` that are fed."""
        for _ in range(n):
            self.frame(step_s=step_s)
            for lane in lanes:
                self.render(lane)

    def change(self, **controls: object) -> list[Action]:
        if "avatar" in controls:
            controls.setdefault("placeholder", placeholder_of(controls["avatar"]))  # type: ignore[arg-type]
        self.state.apply(replace(self.state.controls, **controls), self.now)  # type: ignore[arg-type]
        return self.perform()

    def switch(self, device: FakeDevice, fallback: FakeDevice | None = None) -> list[Action]:
        return self.change(engine=EnginePair(device, fallback))

    def collect(self) -> None:
        """What is due is sent."""
        while (output := self.pacer.take(self.now)[0]) is not None:
            self.check(output)
            self.changes += self.state.sent(output)
            self.outputs.append(output)

    # ---- what lanes report

    def opened(self, *lanes: LaneRef) -> list[Action]:
        for lane in lanes:
            self.state.opened(lane, self.now)
        return self.perform()

    def take(self, lane: LaneRef) -> Work:
        """The lane's engine begins with every frame it was given."""
        frames, self.fed[lane] = tuple(self.fed[lane]), []
        controls = self.state.controls
        base = 0 if controls.avatar is None else int(controls.avatar.portrait_rgb[0, 0, 0])
        return Work(frames, (None,) * len(frames), (controls.lighting,) * len(frames), payload=base)

    def finish(self, lane: LaneRef, work: Work, meanwhile: Callable[[], object] = lambda: None) -> list[Action]:
        """Its result came; `meanwhile` happens while that is drawn. Returns what was done with it."""
        overlay = self.state.result(lane, work, self.now)
        actions = self.perform()
        if overlay is None:
            return actions
        meanwhile()
        made = [Frame(f.index, f.t_s, self._painted(lane, f.rgb, work.payload), f.arrived_s) for f in work.frames]
        self.state.drawn(overlay.draw(work, made, lane.device.name, self.stats))
        actions += self.perform()
        self.collect()
        return actions

    def render(self, lane: LaneRef) -> list[Action]:
        """The lane renders at once what it was given, if anything."""
        return self.finish(lane, self.take(lane)) if self.fed[lane] else []

    def fail(self, lane: LaneRef, message: str = "The engine stopped.") -> float:
        """The lane's engine raises, with every frame it was given. Returns the wait before it is opened again."""
        held, self.fed[lane] = self.fed[lane], []
        wait_s = self.state.failed(lane, held, message)
        self.perform()
        self.collect()
        return wait_s

    def hang(self, lane: LaneRef) -> list[Action]:
        """The lane was found hanging."""
        assert self.state.hung(lane)
        return self.perform()

    # ---- inside

    def perform(self) -> list[Action]:
        """Performs what the state asks for, and checks that it may be asked."""
        actions = list(self.state.actions)
        self.state.actions.clear()
        for action in actions:
            match action:
                case Open(lane):
                    assert lane not in self.fed, "a lane is opened once"
                    self.fed[lane] = []
                    self.lanes.append(lane)
                case Close(lane):
                    self.lanes.remove(lane)
                case Feed(lane, frame):
                    assert lane in self.lanes
                    self.fed[lane].append(frame)
                case Reset(lane):
                    assert lane in self.lanes
                    self.fed[lane].clear()
                case Show(frames):
                    for frame in frames:
                        self.check(frame)
                    self.pacer.put(frames, self.now)
                case Clear():
                    self.pacer.flush()
                case Discard(count):
                    self.discarded += count
        return actions

    def check(self, output: OutputFrame) -> None:
        if self.hidden:
            assert output.showing != CAMERA
            assert not (output.rgb == CAMERA_LEVEL).any(), f"the camera was shown as {output.showing}"

    def _painted(self, lane: LaneRef, rgb: NDArray[np.uint8], base: int) -> NDArray[np.uint8]:
        device = lane.device
        assert isinstance(device, FakeDevice)
        if not device.traits.shows_avatar:
            return rgb + np.uint8(device.level)
        height, width = device.traits.output_size or rgb.shape[:2]
        return np.full((height, width, 3), device.level + base, np.uint8)


def shown(actions: list[Action]) -> list[OutputFrame]:
    """The pictures that `actions` schedule."""
    return [frame for action in actions if isinstance(action, Show) for frame in action.frames]


def kinds(actions: list[Action]) -> list[type]:
    """The kinds of `actions`, in order."""
    return [type(action) for action in actions]


FINE, SIMPLE = avatar_device("lcvd", 100), avatar_device("avatar", 120)
FINE_SEEN, SIMPLE_SEEN = ("lcvd", 100 + PORTRAIT_LEVEL), ("avatar", 120 + PORTRAIT_LEVEL)
PORTRAIT_SEEN = ("portrait", PORTRAIT_LEVEL)


def avatar_entered(fallback: bool = True) -> StateDriver:
    """An avatar's owner whose engine has yet to open."""
    return StateDriver(FINE, SIMPLE if fallback else None, PORTRAIT_LEVEL)


def avatar_rendering(fallback: bool = True) -> StateDriver:
    """An avatar's owner whose engine has rendered a picture."""
    driver = avatar_entered(fallback)
    driver.opened(driver.main)
    driver.step(driver.main, n=2)
    assert driver.seen[-1] == FINE_SEEN
    driver.outputs.clear()
    return driver


def fallback_rendering() -> StateDriver:
    """An avatar's owner whose engine warms up, and whose fallback has rendered a picture."""
    driver = avatar_entered()
    driver.frame()
    driver.opened(driver.fallback)
    driver.step(driver.fallback, n=2)
    assert driver.seen[-1] == SIMPLE_SEEN
    driver.outputs.clear()
    return driver
