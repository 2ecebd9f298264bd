"""An avatar's owner is never shown by camera in its place, whatever the engine does; what stands in comes and goes."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import PortraitError
from engine.frames import Frame, Work
from engine.live.device import DeviceThread
from engine.live.fallback import Fallback, status_message
from engine.live.health import STEADY_S
from engine.live.overlay import View
from engine.live.stream import LiveStream, OutputFrame
from engine.protocols import Avatar, EngineTraits, StreamConfig
from lcvd.types import Lighting
from tests.engine.fakes import (
    DAY,
    NIGHT,
    Clock,
    FakeEngine,
    FakeStream,
    change,
    lanes_and_devices,
    live_stream,
    picture,
    switch,
    until,
)

CAMERA_LEVEL = 211  # no fake avatar, no portrait has it
PORTRAIT_LEVEL, OTHER_PORTRAIT_LEVEL = 40, 60
STEP_S = 1 / 30
QUICK = (0.001, 0.004)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Every test gives its threads back."""
    before = set(lanes_and_devices())
    yield
    until(lambda: not set(lanes_and_devices()) - before)


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
                assert frame.showing != "camera"
            self.outputs.append(frame)

    def until_showing(self, showing: str) -> OutputFrame:
        """Frames come until what goes out is `showing`."""

        def shown() -> bool:
            self.frame()
            threading.Event().wait(0.001)  # lanes and devices have their turn
            return bool(self.outputs) and self.outputs[-1].showing == showing

        until(shown)
        return self.outputs[-1]

    def until_state(self, state: str) -> None:
        """Frames come until the engine is in `state`."""

        def reached() -> bool:
            self.frame()
            threading.Event().wait(0.001)
            return self.engine["state"] == state

        until(reached)

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


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.close()


def fallback_of(room: Room) -> Fallback:
    assert room.stream._state.fallback is not None
    return room.stream._state.fallback


def test_the_standby_is_shown_while_the_engine_warms_up(room: Room) -> None:
    """A warm-up that takes for ever: first the portrait, then the simpler avatar; words and `showing` say so."""
    gate = Gate(shut=True)
    opening = Gate(shut=True)
    main, simple = AvatarEngine(100, name="lcvd", on_warmup=gate), AvatarEngine(120, name="avatar", on_open=opening)
    room.enter(main, simple)
    for _ in range(5):
        room.frame()
    assert {(f.showing, int(f.rgb[0, 0, 0]), f.rgb.shape) for f in room.outputs} == {
        ("portrait", PORTRAIT_LEVEL, (24, 24, 3))
    }
    assert room.engine["state"] == "warming"
    assert room.engine["showing"] == "portrait"
    assert "portrait" in room.engine["message"]
    opening.open()
    shown = room.until_showing("avatar")
    assert shown.rgb[0, 0, 0] == 120 + PORTRAIT_LEVEL
    assert (room.engine["name"], room.engine["state"], room.engine["showing"]) == ("lcvd", "warming", "avatar")
    assert "avatar" in room.engine["message"]
    room.outputs.clear()
    for _ in range(40):
        room.frame()
    assert {f.showing for f in room.outputs} == {"avatar"}
    gate.open()
    assert room.until_showing("lcvd").rgb[0, 0, 0] == 100 + PORTRAIT_LEVEL
    assert room.engine == {"name": "lcvd", "state": "ok", "message": "", "showing": "lcvd"}


TROUBLE = {
    "warm-up fails": lambda: AvatarEngine(100, name="lcvd", on_warmup=Broken()),
    "open fails": lambda: AvatarEngine(100, name="lcvd", on_open=Broken()),
    "prepare raises": lambda: AvatarEngine(100, name="lcvd", on_prepare=Broken()),
    "render raises": lambda: AvatarEngine(100, name="lcvd", on_render=Broken()),
    "wrong size": lambda: AvatarEngine(100, name="lcvd", result=lambda frames: [f for f in frames[:0]]),
}


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("helped", [True, False], ids=["standby", "alone"])
def test_an_engine_that_fails_shows_no_camera(room: Room, trouble: str, helped: bool) -> None:
    """Whatever breaks, the simpler avatar is shown, or where there is none the portrait; never the camera."""
    room.enter(TROUBLE[trouble](), AvatarEngine(120, name="avatar") if helped else None)
    room.until_showing("avatar" if helped else "portrait")
    for _ in range(60):
        room.frame()
    until(lambda: room.frame() or room.engine["state"] == "failed")
    assert "seen" not in room.engine["message"]
    assert room.engine["showing"] == ("avatar" if helped else "portrait")


@pytest.mark.parametrize("where", ["on_prepare", "on_render"])
def test_an_engine_that_hangs_shows_no_camera(where: str) -> None:
    """A call that never returns: the standby shows, another thread goes on with the engine, and it comes back."""
    room = Room(hang_s=5.0)
    gate = Gate()
    main = AvatarEngine(100, name="lcvd", **{where: gate})
    room.enter(main, AvatarEngine(120, name="avatar"))
    room.until_showing("lcvd")
    gate.shut = True
    until(lambda: room.frame() or gate.waiting == 1)
    gate.shut = False  # the next call would not hang
    room.until_showing("avatar")
    assert room.engine["state"] == "behind"
    for _ in range(20):
        room.frame(0.5)
    room.until_showing("lcvd")
    room.close()
    gate.open()


def test_late_results_show_no_camera(room: Room) -> None:
    """An engine that falls behind is stood in for, and its late results are not shown before it has proved itself."""
    gate = Gate()
    room.enter(AvatarEngine(100, name="lcvd", on_render=gate), AvatarEngine(120, name="avatar"))
    room.until_showing("lcvd")
    gate.shut = True
    until(lambda: room.frame() or gate.waiting == 1)
    room.until_showing("avatar")
    assert room.engine["state"] == "behind"
    assert "keep up" in room.engine["message"]
    gate.open()
    room.until_showing("lcvd")
    times = [frame.t_s for frame in room.outputs]
    assert times == sorted(set(times))


def test_the_standby_breaks_as_well(room: Room) -> None:
    """Engine and standby fail: the last picture of an avatar is held, and each comes back by itself."""
    broken, simple_broken = Broken(False), Broken(False)
    room.enter(
        AvatarEngine(100, name="lcvd", on_render=broken), AvatarEngine(120, name="avatar", on_prepare=simple_broken)
    )
    room.until_showing("lcvd")
    broken.broken = simple_broken.broken = True
    until(lambda: room.frame() or room.engine["state"] == "failed")
    room.outputs.clear()
    until(lambda: room.frame() or len(room.outputs) >= 10)  # none while the standby has its second to answer
    assert {(f.showing, int(f.rgb[0, 0, 0]), f.relit) for f in room.outputs} == {("lcvd", 100 + PORTRAIT_LEVEL, False)}
    assert "last picture is held" in room.engine["message"]
    simple_broken.broken = False
    room.until_showing("avatar")
    broken.broken = False
    room.until_showing("lcvd")


def test_a_hanging_standby_is_replaced(room: Room) -> None:
    """The standby's own call never returns: stills go out, and another thread takes over."""
    room.options["hang_s"] = 5.0
    gate = Gate()
    simple = AvatarEngine(120, name="avatar", on_prepare=gate)
    warm = Gate(shut=True)
    room.enter(AvatarEngine(100, name="lcvd", on_warmup=warm), simple)
    room.until_showing("avatar")
    gate.shut = True
    until(lambda: room.frame() or gate.waiting == 1)
    gate.shut = False
    for _ in range(20):
        room.frame(0.5)
    room.outputs.clear()
    room.until_showing("avatar")
    until(lambda: room.frame() or room.outputs[-1].relit)
    gate.open()
    warm.open()


def test_the_standby_is_opened_when_needed_and_closed_when_not(room: Room) -> None:
    """A healthy engine's standby ends after a while, and another begins with the next trouble."""
    gate = Gate(shut=True)
    broken = Broken(False)
    simple = AvatarEngine(120, name="avatar")
    room.enter(AvatarEngine(100, name="lcvd", on_warmup=gate, on_render=broken), simple)
    assert simple.opened == 0
    room.until_showing("avatar")
    gate.open()
    room.until_showing("lcvd")
    fed = len(simple.prepared)
    while simple.closed_streams == 0:
        room.frame()
        assert room.clock.now < 100 + 10 * STEADY_S
        threading.Event().wait(0.001)
    assert len(simple.prepared) <= fed + 1  # it rests meanwhile
    broken.broken = True
    room.until_showing("avatar")
    assert (simple.opened, simple.closed_streams) == (2, 1)


def test_pause_holds_the_last_picture(room: Room) -> None:
    """Paused, nothing of the camera goes out and no engine is fed; the picture moves again afterwards."""
    main = AvatarEngine(100, name="lcvd")
    room.enter(main, AvatarEngine(120, name="avatar"))
    room.until_showing("lcvd")
    change(room.stream, paused=True)
    room.frame()
    room.outputs.clear()
    fed = len(main.prepared)
    for _ in range(30):
        room.frame()
    assert {(f.showing, int(f.rgb[0, 0, 0]), f.relit) for f in room.outputs} == {("lcvd", 100 + PORTRAIT_LEVEL, False)}
    assert len(main.prepared) <= fed + 1
    assert room.engine["state"] == "paused"
    assert "held" in room.engine["message"]
    change(room.stream, paused=False)
    until(lambda: room.frame() or room.outputs[-1].relit)
    assert room.outputs[-1].showing == "lcvd"


def test_pause_before_any_picture_shows_the_portrait(room: Room) -> None:
    """There is nothing to hold yet."""
    gate = Gate(shut=True)
    room.enter(AvatarEngine(100, on_warmup=gate))
    change(room.stream, paused=True)
    for _ in range(3):
        room.frame()
    assert {f.showing for f in room.outputs} == {"portrait"}
    gate.open()


def test_going_over_to_an_avatar_hides_the_camera_at_once(room: Room) -> None:
    """From ratio to an engine that warms up for minutes: relit camera pictures under way are thrown away."""
    gate, warm = Gate(), Gate(shut=True)
    camera = FakeEngine(name="ratio", add=0, on_render=gate, result=lambda frames: frames)
    room.hidden = False
    room.enter(camera)
    until(lambda: room.engine["state"] == "ok")
    room.until_showing("ratio")
    gate.shut = True
    until(lambda: room.frame() or gate.waiting == 1)  # one more is being rendered
    room.hidden = True
    room.outputs.clear()
    switch(
        room.stream,
        room.host(AvatarEngine(100, name="lcvd", on_warmup=warm)),
        room.host(AvatarEngine(120, name="avatar")),
    )
    room.collect()
    assert [f.showing for f in room.outputs] == ["portrait"]  # without waiting for a frame
    gate.open()
    room.until_showing("avatar")
    assert (room.engine["name"], room.engine["state"]) == ("lcvd", "warming")
    warm.open()
    room.until_showing("lcvd")


def test_from_the_simple_avatar_to_the_fine_one_and_back(room: Room) -> None:
    """The simple avatar goes on as the standby, its stream unbroken, and returns as the engine."""
    warm = Gate(shut=True)
    simple, fine = AvatarEngine(120, name="avatar"), AvatarEngine(100, name="lcvd", on_warmup=warm)
    room.enter(simple)
    room.until_showing("avatar")
    standby = room.stream._state.lane.device
    fine_host = room.host(fine)
    switch(room.stream, fine_host, standby)
    for _ in range(20):
        room.frame()
    assert room.engine["name"] == "lcvd"
    assert room.engine["state"] == "warming"
    assert (simple.opened, simple.closed_streams) == (1, 0)
    room.until_showing("avatar")
    switch(room.stream, standby)  # a change of mind
    room.until_state("ok")
    assert (room.engine["name"], room.engine["showing"], simple.opened) == ("avatar", "avatar", 1)
    warm.open()
    switch(room.stream, fine_host, standby)
    room.until_showing("lcvd")


def test_back_to_the_camera_by_choice(room: Room) -> None:
    """The avatar is shown until the other engine is ready, even one that stands in; then the camera, relit."""
    warm, slow = Gate(shut=True), Gate(shut=True)
    room.enter(AvatarEngine(100, name="lcvd", on_warmup=warm), AvatarEngine(120, name="avatar"))
    room.until_showing("avatar")
    switch(room.stream, room.host(FakeEngine(name="ratio", add=10, on_warmup=slow)))
    for _ in range(30):
        room.frame()
    assert room.outputs[-1].showing == "avatar"
    room.hidden = False
    slow.open()
    room.until_showing("ratio")
    assert room.engine["message"] == ""
    assert not room.stream.hides_camera
    warm.open()


def test_another_portrait_replaces_the_first(room: Room) -> None:
    """In mid-window, standing in or not: pictures of the first one stop at once, the new still stands in."""
    main, simple = AvatarEngine(100, name="lcvd", window=4), AvatarEngine(120, name="avatar")
    main.traits = replace(main.traits, stall_s=5.0)
    room.enter(main, simple)
    room.until_showing("lcvd")
    for _ in range(2):
        room.frame()
    room.outputs.clear()
    change(room.stream, avatar=Avatar(picture(OTHER_PORTRAIT_LEVEL)))
    room.collect()
    assert [(f.showing, int(f.rgb[0, 0, 0])) for f in room.outputs] == [("portrait", OTHER_PORTRAIT_LEVEL)]
    room.until_showing("lcvd")
    assert {int(f.rgb[0, 0, 0]) for f in room.outputs} <= {base + OTHER_PORTRAIT_LEVEL for base in (0, 100, 120)}
    assert main.portraits == [PORTRAIT_LEVEL, OTHER_PORTRAIT_LEVEL]


def test_another_portrait_ends_a_failure_at_once() -> None:
    """A portrait that cannot be animated, then one that can: nobody waits for the next try."""
    room = Room(backoff_s=(600.0, 600.0))
    main = AvatarEngine(100, name="lcvd")
    simple = AvatarEngine(120, name="avatar")
    for engine in (main, simple):
        plain = engine.open

        def fussy(config: StreamConfig, plain: Callable = plain) -> FakeStream:
            if config.avatar.portrait_rgb[0, 0, 0] == PORTRAIT_LEVEL:  # type: ignore[union-attr]
                raise PortraitError("No face was found.", "choose another")
            return plain(config)

        engine.open = fussy  # type: ignore[method-assign]
    room.enter(main, simple)
    room.until_state("failed")
    assert "No face was found." in room.engine["message"]
    change(room.stream, avatar=Avatar(picture(OTHER_PORTRAIT_LEVEL)))
    assert room.until_showing("lcvd").rgb[0, 0, 0] == 100 + OTHER_PORTRAIT_LEVEL
    room.close()


def test_the_standby_takes_another_portrait_too() -> None:
    """While it shows, and after it failed with the first one."""
    for fails in (False, True):
        room = Room(backoff_s=(600.0, 600.0))
        warm, broken = Gate(shut=True), Broken(fails)
        room.enter(AvatarEngine(100, name="lcvd", on_warmup=warm), AvatarEngine(120, name="avatar", on_open=broken))
        if fails:
            until(lambda room=room: room.frame() or fallback_of(room).health.state == "failed")
        else:
            room.until_showing("avatar")
        broken.broken = False
        change(room.stream, avatar=Avatar(picture(OTHER_PORTRAIT_LEVEL)))
        room.collect()
        room.outputs.clear()
        room.until_showing("avatar")
        assert {int(f.rgb[0, 0, 0]) for f in room.outputs} <= {OTHER_PORTRAIT_LEVEL, 120 + OTHER_PORTRAIT_LEVEL}
        warm.open()
        room.close()


def test_a_late_picture_of_the_standby_does_not_push_in(room: Room) -> None:
    """Once the engine shows, what the standby still had is thrown away."""
    warm, slow = Gate(shut=True), Gate()
    room.enter(
        AvatarEngine(100, name="lcvd", on_warmup=warm), AvatarEngine(120, name="avatar", on_render=slow, window=1)
    )
    room.until_showing("avatar")
    slow.shut = True
    until(lambda: room.frame() or slow.waiting == 1)
    warm.open()
    room.until_open()  # and has not been given a frame yet
    assert room.engine["state"] == "warming"
    assert room.engine["message"].startswith("Getting lcvd ready.")
    before = room.stream.stats.snapshot().counters.get("superseded", 0)
    slow.open()
    until(lambda: room.stream.stats.snapshot().counters.get("superseded", 0) > before)
    room.outputs.clear()
    room.until_showing("lcvd")
    assert "avatar" not in {f.showing for f in room.outputs}


def test_a_camera_picture_that_is_being_drawn_does_not_slip_through(room: Room) -> None:
    """The switch to an avatar comes between a result and its place in the queue."""
    warm = Gate(shut=True)
    room.hidden = False
    room.enter(FakeEngine(name="ratio", add=0))
    room.until_state("ok")
    room.outputs.clear()
    avatar_host = room.host(AvatarEngine(100, name="lcvd", on_warmup=warm))
    stats = room.stream.stats
    stage = stats.stage

    def turned(name: str) -> object:
        if name == "view":
            stats.stage = stage  # type: ignore[method-assign]
            switch(room.stream, avatar_host)
        return stage(name)

    stats.stage = turned  # type: ignore[method-assign, assignment]
    room.clock.now += STEP_S
    room.stream.submit(picture(CAMERA_LEVEL), room.clock.now)
    until(lambda: stats.stage is stage)
    room.hidden = True
    lane = next(lane for lane in room.stream._ended)
    until(lambda: not lane.thread.is_alive() and not room.hosts[0]._running)
    room.collect()
    assert {f.showing for f in room.outputs} == {"portrait"}
    warm.open()


def test_camera_pictures_in_the_queue_are_thrown_away(room: Room) -> None:
    """Relit, due, and not fetched yet when the avatar was chosen: nobody gets them."""
    warm = Gate(shut=True)
    room.hidden = False
    room.enter(FakeEngine(name="ratio", add=0, window=4))
    room.until_state("ok")
    room.outputs.clear()
    room.hidden = True

    def queued() -> bool:
        room.clock.now += STEP_S
        room.stream.submit(picture(CAMERA_LEVEL), room.clock.now)
        threading.Event().wait(0.001)
        return len(room.stream._pacer) > 0

    until(queued)
    switch(room.stream, room.host(AvatarEngine(100, name="lcvd", on_warmup=warm)))
    room.frame(1.0)
    assert {f.showing for f in room.outputs} == {"portrait"}
    warm.open()


def test_what_an_avatar_engine_held_back_is_not_passed(room: Room) -> None:
    """One without a size of its own is opened again for a turned camera; the frames inside it stay there."""

    class Plain(AvatarEngine):
        def open(self, config: StreamConfig) -> FakeStream:
            self.traits = replace(self.traits, output_size=None)
            return super().open(config)

    main = Plain(100, side=12, name="lcvd", window=4, result=lambda frames: frames)
    main.traits = replace(main.traits, output_size=None, stall_s=5.0)
    room.enter(main)
    room.until_open()
    given = len(main.prepared)
    room.frame()
    until(lambda: len(main.prepared) > given)
    room.clock.now += STEP_S
    room.stream.submit(picture(CAMERA_LEVEL, 20, 30), room.clock.now)
    until(lambda: main.opened == 2)
    for _ in range(5):
        room.frame()


def test_other_settings_of_the_same_portrait_hold_the_picture(room: Room) -> None:
    """The stream is opened again with them; the last picture stays meanwhile, the still does not flash up."""
    main = AvatarEngine(100, name="lcvd")
    room.enter(main)
    room.until_showing("lcvd")
    room.outputs.clear()
    portrait = room.stream.avatar.portrait_rgb  # type: ignore[union-attr]
    change(room.stream, avatar=Avatar(portrait, steps=1))
    until(lambda: room.frame() or main.opened == 2)
    until(lambda: room.frame() or (room.outputs and room.outputs[-1].relit))
    assert {f.showing for f in room.outputs} == {"lcvd"}


def test_a_portrait_that_comes_after_the_end_opens_nothing() -> None:
    """The upload was still being read when the connection ended, with its engine failed: no thread is left."""
    room = Room(backoff_s=(60, 60))
    room.enter(AvatarEngine(100, name="lcvd", on_open=Broken()))
    room.until_state("failed")
    room.stream.close()
    until(lambda: not [t for t in lanes_and_devices() if t.name.startswith("relight-lane")])  # `close` waits 2 s
    change(room.stream, avatar=Avatar(picture(OTHER_PORTRAIT_LEVEL)))
    assert not [t for t in lanes_and_devices() if t.name.startswith("relight-lane")]
    room.close()


def test_the_state_is_ok_only_once_the_avatar_was_seen(room: Room) -> None:
    """Whenever it is ok the engine's own picture goes out, and there is no message."""
    warm = Gate(shut=True)
    room.enter(AvatarEngine(100, name="lcvd", on_warmup=warm, window=4), AvatarEngine(120, name="avatar"))
    room.until_showing("avatar")
    warm.open()

    def consistent() -> bool:
        room.frame()
        engine = room.engine
        assert (engine["state"] == "ok") == (engine["showing"] == "lcvd" and not engine["message"]), engine
        return engine["state"] == "ok"

    until(consistent)


def test_both_avatars_have_the_participants_light(room: Room) -> None:
    """A light that changes while the standby shows reaches it and, later, the engine."""
    warm = Gate(shut=True)
    main, simple = AvatarEngine(100, name="lcvd", on_warmup=warm), AvatarEngine(120, name="avatar")
    room.enter(main, simple)
    room.until_showing("avatar")
    assert set(simple.lights) == {"day"}
    change(room.stream, lighting=NIGHT)
    until(lambda: room.frame() or "night" in simple.lights)
    warm.open()
    room.until_showing("lcvd")
    assert set(main.lights) == {"night"}


def test_the_split_shows_the_portrait_and_not_the_camera(room: Room) -> None:
    """Before: the still portrait. After: the avatar. Wherever the picture goes on to, the camera is not in it."""
    room.enter(AvatarEngine(100, side=64, name="lcvd"), None)
    change(room.stream, view=View(split=0.5))
    shown = room.until_showing("lcvd")
    assert (shown.rgb[:, :28] == PORTRAIT_LEVEL).all()
    assert (shown.rgb[:, 36:] == 100 + PORTRAIT_LEVEL).all()


def test_the_mirror_shows_no_camera(room: Room) -> None:
    """A turned picture begins afresh; meanwhile the last one is held."""
    main = AvatarEngine(100, name="lcvd")
    room.enter(main, AvatarEngine(120, name="avatar"))
    room.until_showing("lcvd")
    change(room.stream, mirror=True)
    until(lambda: room.frame() or main.opened == 2)
    room.until_showing("lcvd")


def test_an_avatar_engine_that_lets_the_camera_pass_is_not_shown(room: Room) -> None:
    """A result that is the very picture of the camera is withheld, and counted."""

    class Leaky(FakeEngine):
        traits = EngineTraits(shows_avatar=True)

        def open(self, config: StreamConfig) -> FakeStream:
            stream = super().open(config)
            stream.render = lambda work: list(work.frames)  # type: ignore[method-assign]
            return stream

    room.enter(Leaky(name="lcvd"))
    room.until_open()
    until(lambda: room.frame() or room.stream.stats.snapshot().counters.get("withheld", 0) > 3)


def test_a_camera_engine_never_stands_in(room: Room) -> None:
    """Whoever names one by mistake gets the still portrait."""
    warm = Gate(shut=True)
    room.enter(AvatarEngine(100, name="lcvd", on_warmup=warm), FakeEngine(name="ratio", add=0))
    for _ in range(30):
        room.frame()
    assert {f.showing for f in room.outputs} == {"portrait"}
    assert fallback_of(room).lane is None
    switch(room.stream, room.host(AvatarEngine(90, name="other", on_warmup=warm)), room.hosts[1])
    for _ in range(30):
        room.frame()
    assert {f.showing for f in room.outputs} == {"portrait"}
    warm.open()


def test_the_queues_stay_bounded_while_it_stands_in(room: Room) -> None:
    """A standby and an engine that both stall: what waits does not grow with the frames that come."""
    gate = Gate()
    room.enter(AvatarEngine(100, name="lcvd", on_render=gate), AvatarEngine(120, name="avatar", on_prepare=gate))
    room.until_showing("lcvd")
    gate.shut = True
    for _ in range(300):
        room.clock.now += 0.01
        room.stream.submit(picture(CAMERA_LEVEL), room.clock.now)  # nobody takes anything
    assert len(room.stream._pacer) <= 4
    assert len(room.stream._lanes[room.stream._state.lane].mailbox) <= 1
    lane = fallback_of(room).lane
    assert lane is not None
    assert len(room.stream._lanes[lane].mailbox) <= 1
    gate.open()


def test_the_delay_is_measured_afresh_when_something_else_is_shown(room: Room) -> None:
    """A minute of stills says nothing about the windows that follow: the sound follows what is shown."""
    warm = Gate(shut=True)
    main = AvatarEngine(100, name="lcvd", on_warmup=warm, window=6)
    main.traits = replace(main.traits, stall_s=5.0)
    room.enter(main)
    for _ in range(400):
        room.frame()
    assert room.stream.snapshot().latency_ms["p50"] == 0
    warm.open()
    room.until_showing("lcvd")
    room.until_showing("lcvd")
    assert room.stream.snapshot().latency_ms["p50"] > 2e3 * STEP_S


def test_a_change_of_the_cameras_size_changes_nothing(room: Room) -> None:
    """The avatar keeps its size through a turned camera."""
    main = AvatarEngine(100, name="lcvd")
    room.enter(main)
    room.until_showing("lcvd")
    room.outputs.clear()
    for height, width in ((12, 16), (16, 12), (30, 40)):
        room.clock.now += STEP_S
        room.stream.submit(picture(CAMERA_LEVEL, height, width), room.clock.now)
        until(lambda: room.collect() or room.outputs)
    assert {f.rgb.shape for f in room.outputs} == {(24, 24, 3)}
    assert main.opened == 1


@pytest.mark.parametrize(
    ("state", "message", "showing", "said"),
    [
        ("warming", "", "portrait", "Getting lcvd ready. Your portrait stands in."),
        ("warming", "", "avatar", "Getting lcvd ready. The simpler avatar (avatar) is shown meanwhile."),
        (
            "failed",
            "The engine does not answer; you are seen without the light.",
            "lcvd",
            "The engine does not answer. The last picture is held.",
        ),
        ("failed", "No face was found.", "portrait", "No face was found. Your portrait stands in."),
        ("paused", "", "lcvd", "Paused: the picture is held, the camera is not shown."),
        ("ok", "", "lcvd", ""),
    ],
)
def test_the_words_say_what_is_seen(state: str, message: str, showing: str, said: str) -> None:
    """What is wrong, then what stands in; never that the person is seen."""
    assert status_message(state, message, "lcvd", showing) == said


def offline(engine: AvatarEngine, count: int, lights: dict[int, Lighting]) -> list[np.ndarray]:
    stream = engine.open(StreamConfig(DAY, avatar=Avatar(picture(PORTRAIT_LEVEL))))
    made = []
    for i in range(count):
        if i in lights:
            stream.set_lighting(lights[i])
        made += [frame.rgb for frame in stream.push(Frame(i, i * STEP_S, picture(CAMERA_LEVEL)))]
    return made


@pytest.mark.parametrize("make", [lambda: AvatarEngine(100), lambda: AvatarEngine(100, window=4)])
def test_an_avatar_live_equals_offline(room: Room, make: Callable[[], AvatarEngine]) -> None:
    """Without overload every frame that the engine gives comes out, as through push."""
    expected = offline(make(), 24, {8: NIGHT})
    engine = make()
    engine.traits = replace(engine.traits, stall_s=60.0)
    room.enter(engine)
    room.until_open()
    for i in range(24):
        if i == 8:
            change(room.stream, lighting=NIGHT)
        room.frame()
        until(lambda n=i: len(engine.prepared) > n)
        if (i + 1) % engine.window == 0:
            until(lambda n=i: room.collect() or len([f for f in room.outputs if f.relit]) + len(room.stream._pacer) > n)
    while len(room.stream._pacer):
        room.clock.now += STEP_S
        room.collect()
    got = [frame.rgb for frame in room.outputs if frame.relit]
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert np.array_equal(one, other)
