"""The live stream of an avatar's owner with its threads: never the camera, whichever thread comes first."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine.frames import Frame
from engine.live.controls import EnginePair
from engine.live.fallback import Fallback
from engine.protocols import Avatar, StreamConfig
from lcvd.types import Lighting
from tests.engine.fakes import (
    DAY,
    NIGHT,
    FakeEngine,
    FakeStream,
    Gate,
    change,
    picture,
    switch,
    until,
)
from tests.engine.live.room import AvatarEngine, Broken, Room
from tests.engine.live.state_driver import CAMERA_LEVEL, OTHER_PORTRAIT_LEVEL, PORTRAIT_LEVEL, STEP_S


def fallback_of(room: Room) -> Fallback:
    assert room.stream._state.fallback is not None
    return room.stream._state.fallback


TROUBLE = {
    "warm-up fails": lambda: AvatarEngine(100, name="lcvd", on_warmup=Broken()),
    "open fails": lambda: AvatarEngine(100, name="lcvd", on_open=Broken()),
    "prepare raises": lambda: AvatarEngine(100, name="lcvd", on_prepare=Broken()),
    "render raises": lambda: AvatarEngine(100, name="lcvd", on_render=Broken()),
    "wrong size": lambda: AvatarEngine(100, name="lcvd", result=lambda frames: [f for f in frames[:0]]),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_an_engine_that_fails_shows_no_camera(room: Room, trouble: str) -> None:
    """Whatever breaks, the simpler avatar is shown; never the camera."""
    room.enter(TROUBLE[trouble](), AvatarEngine(120, name="avatar"))
    room.until_showing("avatar")
    for _ in range(60):
        room.frame()
    until(lambda: room.frame() or room.engine["state"] == "failed")
    assert "seen" not in room.engine["message"]
    assert room.engine["showing"] == "avatar"


@pytest.mark.parametrize("where", ["on_prepare", "on_render"])
def test_an_engine_that_hangs_shows_no_camera(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that never returns: the fallback shows, another thread goes on with the engine, and it comes back."""
    monkeypatch.setattr("engine.live.stream.JOIN_S", 0.05)
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


def test_a_hanging_fallback_is_replaced(room: Room) -> None:
    """The fallback's own call never returns: held pictures go out, and another thread takes over."""
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


def test_a_late_picture_of_the_fallback_does_not_push_in(room: Room) -> None:
    """Once the engine shows, what the fallback still had is thrown away."""
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


def test_camera_pictures_in_the_queue_are_thrown_away(room: Room) -> None:
    """Relit, due, and not fetched yet when the avatar was chosen: nobody gets them."""
    warm = Gate(shut=True)
    room.hidden = False
    room.enter(FakeEngine(name="ratio", add=0, window=4))
    until(lambda: room.frame() or room.engine["state"] == "ok")
    room.outputs.clear()
    room.hidden = True

    def queued() -> bool:
        room.clock.now += STEP_S
        room.stream.submit(picture(CAMERA_LEVEL), room.clock.now)
        threading.Event().wait(0.001)
        return len(room.stream._pacer) > 0

    until(queued)
    switch(room.stream, room.host(AvatarEngine(100, name="lcvd", on_warmup=warm)))
    for _ in range(6):  # each in its turn
        room.collect()
        room.clock.now += STEP_S
    room.frame(1.0)
    assert {f.showing for f in room.outputs} == {"portrait"}
    warm.open()


@pytest.mark.parametrize("window", [1, 4])
def test_once_an_avatar_is_asked_for_no_camera_picture_follows(room: Room, window: int) -> None:
    """Again and again the avatar is chosen while camera pictures are rendered, drawn and queued by other threads."""
    room.hidden = False
    ratio = room.host(FakeEngine(name="ratio", add=0, window=window))
    room.enter(FakeEngine(name="other", add=0))
    avatar, simple = room.host(AvatarEngine(100, name="lcvd")), room.host(AvatarEngine(120, name="avatar"))
    for _ in range(20):
        switch(room.stream, ratio)
        room.until_showing("ratio")
        assert not room.stream.hides_camera
        for _ in range(window):
            room.frame()
        switch(room.stream, avatar, simple)
        room.hidden = True
        assert room.stream.hides_camera
        room.collect()
        for _ in range(5):
            room.frame()
        room.until_showing("lcvd")
        room.hidden = False


def test_controls_that_change_on_another_thread_show_no_camera(room: Room) -> None:
    """Mirrors, pauses, portraits and engines come in the midst of frames and results; then all is well."""
    stream = room.enter(AvatarEngine(100, name="lcvd"), AvatarEngine(120, name="avatar"))
    fine, other = room.hosts
    changes: list[dict[str, object]] = [
        {"mirror": True},
        {"paused": True},
        {"avatar": Avatar(picture(OTHER_PORTRAIT_LEVEL))},
        {"engine": EnginePair(other)},
        {"paused": False},
        {"engine": EnginePair(fine, other)},
        {"mirror": False, "avatar": Avatar(picture(PORTRAIT_LEVEL))},
    ]

    def turn() -> None:
        for _ in range(40):
            for controls in changes:
                change(stream, **controls)
                threading.Event().wait(0.0002)

    turning = threading.Thread(target=turn)
    turning.start()
    while turning.is_alive():
        room.frame()
    turning.join()
    room.collect()
    room.outputs.clear()
    until(lambda: room.frame() or room.engine["state"] == "ok")
    assert room.until_showing("lcvd").rgb[0, 0, 0] == 100 + PORTRAIT_LEVEL


def test_a_portrait_that_comes_while_the_stream_opens_is_not_lost(room: Room) -> None:
    """The engine has read the first one already; its stream is opened again with the other."""
    warm = Gate(shut=True)
    main = AvatarEngine(100, name="lcvd", on_warmup=warm)
    plain = main.open

    def opening(config: StreamConfig) -> FakeStream:
        made = plain(config)
        if len(main.portraits) == 1:
            change(room.stream, avatar=Avatar(picture(OTHER_PORTRAIT_LEVEL)))
        return made

    main.open = opening  # type: ignore[method-assign]
    room.enter(main)
    warm.open()
    assert room.until_showing("lcvd").rgb[0, 0, 0] == 100 + OTHER_PORTRAIT_LEVEL
    assert main.portraits == [PORTRAIT_LEVEL, OTHER_PORTRAIT_LEVEL]


def test_both_avatars_have_the_participants_light(room: Room) -> None:
    """A light that changes while the fallback shows reaches it and, later, the engine."""
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


def test_the_queues_stay_bounded_while_nothing_is_rendered(room: Room) -> None:
    """A fallback and an engine that both stall: what waits does not grow with the frames that come."""
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
    """A minute of placeholders says nothing about the windows that follow: the sound follows what is shown."""
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
