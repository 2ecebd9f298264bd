"""The live stream with its threads: the picture goes on, in order and bounded, and ends in time."""

import logging
import threading
from dataclasses import asdict

import numpy as np
import pytest

from engine.errors import FrameError
from engine.frames import Frame, Work
from engine.live.device import DeviceThread
from engine.protocols import Avatar, EngineTraits
from tests.engine.fakes import (
    DAY,
    NIGHT,
    Clock,
    FakeEngine,
    Gate,
    Hand,
    change,
    lanes_and_devices,
    live_stream,
    opened,
    picture,
    switch,
    until,
)

QUICK = (0.001, 0.004)  # backoff for tests that wait for a reopening


def test_frames_come_out_relit_and_in_order() -> None:
    """Every frame of an unhurried source comes out once, relit, with its own index and time."""
    hand = opened(FakeEngine())
    hand.send_and_get(20)
    assert [f.index for f in hand.outputs] == list(range(20))
    assert all(f.relit for f in hand.outputs)
    assert [int(f.rgb[0, 0, 0]) for f in hand.outputs] == [100 + 1 + 2 * i for i in range(20)]
    snapshot = hand.stream.snapshot()
    assert (snapshot.drops, snapshot.width, snapshot.height) == (0, 16, 12)
    assert snapshot.fps_in == pytest.approx(30, abs=0.5)
    assert {"wait", "prepare", "render", "view"} <= set(snapshot.stages)
    hand.close()


def test_the_snapshot_is_the_message_of_the_protocol() -> None:
    """Its fields are those of `stats` in docs/protocol.md, as plain JSON values."""
    hand = opened(FakeEngine())
    hand.send_and_get()
    message = asdict(hand.stream.snapshot())
    names = ["fps_in", "fps_out", "drops", "width", "height", "latency_ms", "stages", "face", "engine"]
    assert list(message) == names
    assert set(message["latency_ms"]) == {"p50", "p95"}
    assert message["engine"] == {"name": "fake", "state": "ok", "message": "", "showing": "fake"}
    hand.close()


def test_the_picture_goes_on_while_the_engine_warms_up() -> None:
    """Frames pass untouched until the engine is ready; then they are relit."""
    gate = Gate(shut=True)
    hand = Hand(FakeEngine(on_warmup=gate))
    hand.send_and_get(3)
    assert hand.state() == "warming"
    assert not any(f.relit for f in hand.outputs)
    gate.open()
    until(lambda: hand.state() == "ok")
    hand.send_and_get(2)
    assert hand.outputs[-1].relit
    hand.close()


def test_a_slow_engine_drops_at_the_mailbox_and_stays_young() -> None:
    """Under overload the newest frame is worked on, what goes is counted, and nothing piles up."""
    gate = Gate()
    hand = opened(FakeEngine(on_render=gate))
    gate.shut = True
    hand.send()
    until(lambda: gate.waiting == 1)  # one is rendered
    hand.send()
    until(lambda: hand.engine.prepared == [0, 1])  # one is prepared
    for _ in range(4):
        hand.send(step_s=0.01)  # one waits, three go
    assert hand.stream.snapshot().drops == 3
    gate.open()
    hand.get(5)
    assert [f.index for f in hand.outputs] == [0, 1, 5]
    hand.close()


def test_the_reader_is_told_whenever_there_may_be_a_picture() -> None:
    """A frame that passes, a result, what a failing engine gives back and a placeholder are each announced."""
    warm, broken = Gate(shut=True), threading.Event()

    def trouble(_: Work) -> None:
        if broken.is_set():
            raise RuntimeError("broken")

    hand = Hand(FakeEngine(on_warmup=warm, on_render=trouble), backoff_s=(60, 60))
    hand.send()
    assert hand.told == 1
    warm.open()
    until(lambda: hand.state() == "ok")
    hand.send()
    until(lambda: hand.told == 2)
    broken.set()
    hand.send()
    until(lambda: hand.told == 3)
    change(hand.stream, lighting=NIGHT)
    assert hand.told == 3  # a light shows nothing at once
    avatar = FakeEngine(name="avatar")
    avatar.traits = EngineTraits(shows_avatar=True)
    other = DeviceThread(avatar, hand.clock)
    change(hand.stream, avatar=Avatar(picture(7)))
    switch(hand.stream, other)
    assert hand.told == 4
    hand.close()
    other.close()


@pytest.mark.parametrize("where", ["on_prepare", "on_render"])
def test_an_engine_that_raises_does_not_take_the_picture(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """The frame and those after it go out untouched, the traceback is logged once, and the light comes back."""
    broken = threading.Event()

    def trouble(_: Frame | Work) -> None:
        if broken.is_set():
            raise RuntimeError("out of photons")

    engine = FakeEngine(**{where: trouble})
    hand = opened(engine, backoff_s=QUICK)
    hand.send_and_get(3)
    broken.set()
    with caplog.at_level(logging.INFO):
        until(lambda: hand.send_and_get() or engine.opened >= 4)  # it is tried again and again
    assert hand.state() == "failed"
    assert "RuntimeError" in hand.stream.snapshot().engine["message"]
    assert "photons" not in hand.stream.snapshot().engine["message"]
    assert [f.index for f in hand.outputs] == list(range(hand.sent))
    assert [f.relit for f in hand.outputs] == [i < 3 for i in range(hand.sent)]
    assert np.array_equal(hand.outputs[5].rgb, picture(5))
    assert sum(record.exc_info is not None for record in caplog.records) == 1
    broken.clear()

    def well() -> bool:
        hand.send_and_get()
        return hand.outputs[-1].relit

    until(well)
    assert hand.state() == "ok"
    assert engine.closed_streams == engine.opened - 1
    hand.close()


def test_the_device_serves_streams_in_turn() -> None:
    """With three streams that always have work, none is served twice before the others."""
    served: list[int] = []
    gate = Gate()

    def note(work: Work) -> None:
        gate()
        served.append(int(work.frames[0].rgb[0, 0, 0]))

    clock = Clock()
    host = DeviceThread(FakeEngine(on_render=note), clock)
    streams = [live_stream(host, DAY, lambda: None, clock) for _ in range(3)]
    until(lambda: all(s.snapshot().engine["state"] == "ok" for s in streams))
    gate.shut = True

    def submit() -> None:
        clock.now += 0.001
        for i, stream in enumerate(streams):
            stream.submit(picture(i), clock.now)

    submit()  # one of them is rendered
    until(lambda: gate.waiting == 1 and len(host._pending) == 2)
    submit()  # each has one waiting at the device
    until(lambda: len(host._pending) == 3)
    submit()  # and one in its mailbox
    gate.open()
    until(lambda: len(served) >= 7)
    assert sorted(served[1:4]) == sorted(served[4:7]) == [0, 1, 2]
    for stream in streams:
        stream.close()
    host.close()


def test_mirror_flips_and_throws_stale_frames_away() -> None:
    """No frame from before the flip comes out after it, and the engine begins afresh."""
    gate = Gate()
    engine = FakeEngine(on_render=gate)
    hand = opened(engine)
    left_lit = picture()
    left_lit[:, :8] = 50
    hand.send_and_get(2)
    gate.shut = True
    hand.send()
    until(lambda: gate.waiting == 1)
    change(hand.stream, mirror=True)
    gate.open()
    hand.clock.now += 1 / 30
    hand.stream.submit(left_lit, hand.clock.now)
    hand.get(3)
    assert [f.index for f in hand.outputs] == [0, 1, 3]
    out = hand.outputs[-1].rgb
    assert out[0, -1, 0] == out[0, 0, 0] + 50
    assert engine.opened == 2
    hand.close()


def test_switch_keeps_the_old_engine_until_the_new_is_ready() -> None:
    """The picture stays relit by the old engine while the new one warms up, then the new one takes over."""
    hand = opened(FakeEngine(add=100))
    hand.send_and_get(1)
    gate = Gate(shut=True)
    other = DeviceThread(FakeEngine(add=10, name="other", on_warmup=gate), hand.clock)
    switch(hand.stream, other)
    hand.send_and_get(2)
    assert hand.stream.snapshot().engine["name"] == "fake"
    assert "other" in hand.stream.snapshot().engine["message"]
    gate.open()
    until(lambda: hand.stream.snapshot().engine["name"] == "other")
    until(lambda: hand.state() == "ok")
    hand.send_and_get(1)
    assert [int(f.rgb[0, 0, 0]) - f.index for f in hand.outputs] == [101, 102, 103, 11]
    until(lambda: hand.engine.closed_streams == 1)
    hand.close()
    other.close()


@pytest.mark.parametrize(
    "rgb",
    [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
    ids=["empty", "grey", "float"],
)
def test_what_is_no_picture_is_refused(rgb: np.ndarray) -> None:
    """The caller is told what came; the stream goes on."""
    hand = opened(FakeEngine())
    with pytest.raises(FrameError, match="frame is"):
        hand.stream.submit(rgb, 0.0)
    hand.send_and_get(1)
    hand.close()


def test_a_reader_that_never_reads_costs_a_bounded_number_of_frames() -> None:
    """Nothing piles up behind a client that vanished."""
    hand = opened(FakeEngine())
    for i in range(200):
        hand.send()
        until(lambda n=i: len(hand.engine.prepared) > n or hand.stream.snapshot().drops)
    assert len(hand.stream._pacer) <= 4
    assert hand.stream.snapshot().drops >= 150
    hand.close()


def test_a_callback_that_raises_does_not_stop_the_stream() -> None:
    """The reader's mistake is logged; frames go on."""
    clock = Clock()
    host = DeviceThread(FakeEngine(), clock)

    def broken() -> None:
        raise RuntimeError("reader")

    stream = live_stream(host, DAY, broken, clock)
    until(lambda: stream.snapshot().engine["state"] == "ok")
    for i in range(3):
        clock.now += 1 / 30
        stream.submit(picture(), clock.now)
        until(lambda: stream.next_output(clock.now)[0] is not None)
        assert stream.snapshot().engine["state"] == "ok", i
    stream.close()
    host.close()


def test_many_participants_come_and_go() -> None:
    """Opening and closing leaves neither thread nor stream behind."""
    host = DeviceThread(FakeEngine())
    before = len(lanes_and_devices())
    for _ in range(60):
        stream = live_stream(host, DAY, lambda: None)
        stream.submit(picture(), 0.0)
        stream.close()
    assert len(lanes_and_devices()) == before
    assert host.engine.closed_streams == host.engine.opened  # type: ignore[attr-defined]
    host.close()


def test_close_frees_stream_and_engine() -> None:
    """After close no thread is left, the engine's stream and the engine are closed, and submit is harmless."""
    hand = opened(FakeEngine())
    hand.send_and_get(2)
    hand.stream.close()
    hand.stream.close()
    hand.send()
    assert hand.engine.closed_streams == hand.engine.opened == 1
    hand.host.close()
    assert hand.engine.closed
