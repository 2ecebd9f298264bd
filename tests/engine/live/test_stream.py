"""The live stream: whatever the engine does the picture goes on, in order, bounded, and it comes back by itself."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pytest

from engine import make_engine
from engine.errors import EngineUnavailable, FrameError
from engine.frames import Frame, Work
from engine.live.device import MAX_LEAKED, DeviceThread
from engine.live.overlay import View
from tests.engine.fakes import (
    DAY,
    NIGHT,
    Clock,
    FakeEngine,
    Hand,
    change,
    lanes_and_devices,
    live_stream,
    picture,
    switch,
    until,
)

QUICK = (0.001, 0.004)  # backoff for tests that wait for a reopening


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Every test gives its threads back."""
    before = set(lanes_and_devices())
    yield
    until(lambda: not set(lanes_and_devices()) - before)


def opened(engine: FakeEngine, **options: object) -> Hand:
    """A stream whose engine is ready."""
    hand = Hand(engine, **options)
    until(lambda: hand.state() == "ok")
    return hand


class Gate:
    """Holds whoever passes until it is opened."""

    def __init__(self) -> None:
        self.closed = False
        self.waiting = 0
        self._open = threading.Event()

    def __call__(self, _: object = None) -> None:
        if self.closed:
            self.waiting += 1
            self._open.wait(30)
            self.waiting -= 1

    def open(self) -> None:
        self.closed = False
        self._open.set()


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
    gate = Gate()
    gate.closed = True
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
    gate.closed = True
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


def test_frames_held_in_a_window_are_not_lost_when_the_engine_raises() -> None:
    """What a window had collected goes out untouched, in order."""

    def trouble(frame: Frame) -> None:
        if frame.index == 6:
            raise ValueError("frame 6")

    hand = opened(FakeEngine(window=4, on_prepare=trouble), backoff_s=(60, 60))
    for i in range(4):
        hand.send(step_s=0.01)
        until(lambda n=i: len(hand.engine.prepared) == n + 1)
    until(lambda: len(hand.stream._pacer) == 4)
    for i in range(4, 7):
        hand.collect()
        hand.send(step_s=0.01)
        until(lambda n=i: len(hand.engine.prepared) == n + 1 or n == 6)
    until(lambda: hand.state() == "failed")
    for _ in range(20):
        hand.collect()
        hand.clock.now += 0.01
    assert [(f.index, f.relit) for f in hand.outputs] == [(i, i < 4) for i in range(7)]
    hand.close()


@pytest.mark.parametrize(
    "result",
    [
        lambda frames: [],
        lambda frames: frames * 2,
        lambda frames: [Frame(99, f.t_s, f.rgb) for f in frames],
        lambda frames: [Frame(f.index, f.t_s, f.rgb[:-1]) for f in frames],
        lambda frames: [Frame(f.index, f.t_s, f.rgb.astype(np.float32)) for f in frames],  # type: ignore[arg-type]
    ],
    ids=["none", "twice", "index", "size", "dtype"],
)
def test_a_wrong_result_is_a_failure(result: object) -> None:
    """An engine that gives something else than it was asked for has failed; the picture has not."""
    hand = opened(FakeEngine(result=result), backoff_s=(60, 60))  # type: ignore[arg-type]
    hand.send_and_get(2)
    assert hand.state() == "failed"
    assert [(f.index, f.relit) for f in hand.outputs] == [(0, False), (1, False)]
    assert np.array_equal(hand.outputs[0].rgb, picture(0))
    hand.close()


def test_an_engine_that_falls_behind_lets_frames_pass_and_comes_back() -> None:
    """No result for a quarter of a second: untouched frames, state behind; prompt results bring the light back."""
    gate = Gate()
    hand = opened(FakeEngine(on_render=gate))
    hand.send_and_get(3)
    gate.closed = True
    for _ in range(20):
        hand.send()
        hand.collect()
    assert hand.state() == "behind"
    assert hand.stream.snapshot().engine["message"]
    untouched = [f for f in hand.outputs if not f.relit]
    assert untouched[-1].index == 22
    assert len(untouched) >= 10
    gate.open()

    def well() -> bool:
        hand.send_and_get()
        time.sleep(0.001)  # the engine's thread has its turn before the next frame
        return hand.state() == "ok"

    until(well)
    hand.send_and_get(2)
    assert hand.outputs[-1].relit
    times = [f.t_s for f in hand.outputs]
    assert times == sorted(set(times))
    hand.close()


@pytest.mark.parametrize("where", ["on_prepare", "on_render"])
def test_a_hanging_engine_keeps_neither_picture_nor_close(where: str) -> None:
    """A call that never returns: frames go on, another thread takes over, and close comes back."""
    gate = Gate()
    engine = FakeEngine(**{where: gate})
    hand = opened(engine, hang_s=5.0, backoff_s=QUICK)
    hand.send_and_get(2)
    gate.closed = True
    hand.send()
    until(lambda: gate.waiting == 1)
    gate.closed = False  # this one hangs, the next would not
    for _ in range(20):
        hand.send(step_s=0.5)
        hand.collect()

    def well() -> bool:
        hand.send_and_get()
        time.sleep(0.001)
        return hand.outputs[-1].relit

    until(well)
    assert gate.waiting == 1  # it hangs still
    assert hand.state() == "ok"
    assert engine.closed_streams == 0  # nobody closes a stream under a call that is inside it
    hand.close()
    gate.open()


def test_close_does_not_wait_for_a_hanging_engine() -> None:
    """Leaving works while a call hangs; the thread ends when the call does."""
    gate = Gate()
    hand = opened(FakeEngine(on_prepare=gate))
    gate.closed = True
    hand.send()
    until(lambda: gate.waiting == 1)
    closer = threading.Thread(target=hand.close)
    closer.start()
    closer.join(8)
    assert not closer.is_alive()
    gate.open()


def test_too_many_hanging_calls_start_nothing_new() -> None:
    """A thoroughly broken engine costs a bounded number of threads."""
    gate = Gate()
    gate.closed = True
    hand = Hand(FakeEngine(on_render=gate), hang_s=0.5, backoff_s=QUICK)
    until(lambda: hand.state() == "ok")

    def spent() -> bool:
        hand.send(step_s=0.2)
        hand.collect()
        time.sleep(0.001)
        return hand.host.too_many_leaks

    until(spent)
    for _ in range(50):
        spent()
    assert gate.waiting <= MAX_LEAKED
    assert hand.state() == "failed"
    hand.close()
    gate.open()


def test_one_participants_hang_leaves_the_other_alone() -> None:
    """A hanging prepare belongs to its own stream; the other goes on relit."""
    gate = Gate()
    clock = Clock()

    def trouble(frame: Frame) -> None:
        if frame.rgb[0, 0, 0] == 77:
            gate()

    host = DeviceThread(FakeEngine(on_prepare=trouble), clock)
    streams = [live_stream(host, DAY, lambda: None, clock) for _ in range(2)]
    until(lambda: all(s.snapshot().engine["state"] == "ok" for s in streams))
    gate.closed = True
    streams[0].submit(picture(77), 0.0)
    until(lambda: gate.waiting == 1)
    streams[1].submit(picture(1), 0.0)
    got: list[object] = []
    until(lambda: got.append(streams[1].next_output(clock.now)[0]) or any(got))
    assert [f.relit for f in got if f] == [True]  # type: ignore[attr-defined]
    gate.open()
    for stream in streams:
        stream.close()
    host.close()


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
    gate.closed = True

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
    gate.closed = True
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


def test_a_mirror_that_comes_while_a_result_is_shown_costs_only_that_result() -> None:
    """A result that went stale between two looks is thrown away; the device thread lives on."""
    hand = opened(FakeEngine())
    hand.send_and_get(2)
    stage = hand.stream.stats.stage

    def turned(name: str) -> object:
        if name == "view":
            hand.stream.stats.stage = stage  # type: ignore[method-assign]
            change(hand.stream, mirror=True)
        return stage(name)

    hand.stream.stats.stage = turned  # type: ignore[method-assign, assignment]
    hand.send()
    until(lambda: hand.stream.stats.stage is stage)
    hand.send_and_get(2)
    assert [f.index for f in hand.outputs] == [0, 1, 3, 4]
    assert all(f.relit for f in hand.outputs)
    hand.close()


def test_paused_shows_the_untouched_picture() -> None:
    """Paused, frames go by the engine; unpaused, it is fed again."""
    hand = opened(FakeEngine())
    hand.send_and_get(2)
    change(hand.stream, paused=True)
    hand.send_and_get(3)
    assert hand.state() == "paused"
    assert hand.engine.prepared == [0, 1]
    change(hand.stream, paused=False)
    hand.send_and_get(2)
    assert [f.relit for f in hand.outputs] == [True] * 2 + [False] * 3 + [True] * 2
    hand.close()


def test_a_light_change_belongs_to_the_next_prepared_frame() -> None:
    """set_lighting reaches the engine between frames, on its own thread, and survives a reopening."""
    hand = opened(FakeEngine())
    hand.send_and_get(2)
    change(hand.stream, lighting=NIGHT)
    hand.send_and_get(2)
    change(hand.stream, mirror=True)
    hand.send_and_get(1)
    assert hand.engine.lights == ["day", "day", "night", "night", "night"]
    hand.close()


def test_the_split_shows_both_halves_of_one_instant() -> None:
    """Left of the divider the original, right of it the relit picture, of the same frame."""
    hand = opened(FakeEngine())
    change(hand.stream, view=View(split=0.5))
    hand.send(value=30)
    out = hand.get(0).rgb
    assert out[0, 0, 0] == 30
    assert out[0, -1, 0] == 131
    hand.close()


def test_a_view_that_cannot_be_drawn_does_not_cost_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inset that raises is left out."""

    def broken(*_: object) -> None:
        raise RuntimeError("no pencil")

    monkeypatch.setattr("engine.live.overlay.compose", broken)
    hand = opened(FakeEngine())
    hand.send_and_get(2)
    assert [f.relit for f in hand.outputs] == [True, True]
    hand.close()


def test_switch_keeps_the_old_engine_until_the_new_is_ready() -> None:
    """The picture stays relit by the old engine while the new one warms up, then the new one takes over."""
    hand = opened(FakeEngine(add=100))
    hand.send_and_get(1)
    gate = Gate()
    gate.closed = True
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


def test_switching_back_while_the_new_one_warms_up_stays() -> None:
    """A change of mind leaves everything as it was."""
    gate = Gate()
    gate.closed = True
    hand = opened(FakeEngine())
    other = DeviceThread(FakeEngine(name="other", on_warmup=gate), hand.clock)
    switch(hand.stream, other)
    switch(hand.stream, hand.host)
    gate.open()
    until(lambda: other.ready)
    hand.send_and_get(2)
    assert hand.stream.snapshot().engine == {"name": "fake", "state": "ok", "message": "", "showing": "fake"}
    hand.close()
    other.close()


def test_switching_away_from_a_failed_engine_recovers() -> None:
    """A participant whose engine is broken is helped by the null engine."""

    def broken(_: Frame) -> None:
        raise RuntimeError("broken")

    hand = opened(FakeEngine(on_prepare=broken), backoff_s=(60, 60))
    hand.send_and_get(1)
    assert hand.state() == "failed"
    plain = DeviceThread(make_engine("passthrough"), hand.clock)
    switch(hand.stream, plain)
    until(lambda: hand.state() == "ok")
    hand.send_and_get(2)
    assert hand.stream.snapshot().engine["name"] == "passthrough"
    assert hand.stream.snapshot().face == "ok"
    hand.close()
    plain.close()


def test_an_engine_that_cannot_start_says_why_and_is_tried_again() -> None:
    """A failed warm-up shows its message; once it succeeds the light is there."""
    missing = threading.Event()
    missing.set()

    def warmup() -> None:
        if missing.is_set():
            raise EngineUnavailable("the face model is missing", "run relight doctor")

    hand = Hand(FakeEngine(on_warmup=warmup), backoff_s=QUICK)
    until(lambda: hand.state() == "failed")
    assert hand.stream.snapshot().engine["message"] == "the face model is missing"
    hand.send_and_get(2)
    missing.clear()

    def well() -> bool:
        hand.send_and_get()
        time.sleep(0.001)
        return hand.state() == "ok"

    until(well)
    hand.close()


def test_a_change_of_size_begins_afresh() -> None:
    """The stream goes through a change of resolution; the engine's stream never sees two sizes."""
    hand = opened(FakeEngine())
    hand.send_and_get(2)
    hand.clock.now += 1 / 30
    hand.stream.submit(picture(1, 24, 32), hand.clock.now)
    hand.get(2)
    assert hand.outputs[-1].rgb.shape == (24, 32, 3)
    assert hand.engine.opened == 2
    assert hand.stream.snapshot().width == 32
    hand.close()


def test_a_change_of_size_loses_nothing_a_window_held() -> None:
    """Frames of the old size that a window had collected go out untouched before those of the new."""
    hand = opened(FakeEngine(window=4))
    for i in range(6):
        hand.clock.now += 0.01
        hand.stream.submit(picture(i) if i < 2 else picture(i, 24, 32), hand.clock.now)
        until(lambda n=i: len(hand.engine.prepared) == n + 1)
        hand.collect()
    until(lambda: len(hand.stream._pacer) + len(hand.outputs) == 6)
    for _ in range(30):
        hand.collect()
        hand.clock.now += 0.005
    assert [(f.index, f.relit) for f in hand.outputs] == [(i, i >= 2) for i in range(6)]
    hand.close()


def test_a_change_of_size_between_two_looks_of_the_device_thread() -> None:
    """What the engine held is taken back by one thread while the other counts it off: the device thread lives on."""
    hand = opened(FakeEngine())
    lane = hand.stream._lanes[hand.stream._state.lane]

    class Interrupted(deque[Frame]):
        def __getitem__(self, position: object) -> Frame:
            other = threading.Thread(target=lane._take_held)
            other.start()
            other.join(0.05)  # with a lock it waits until this look is over
            return super().__getitem__(position)  # type: ignore[index]

    lane._held = Interrupted()
    hand.send_and_get(3)
    assert [f.relit for f in hand.outputs] == [True] * 3
    hand.close()


def test_time_that_jumps_back_goes_on() -> None:
    """A changed camera starts its clock anew; what comes out stays in order and nothing is lost."""
    hand = opened(FakeEngine())
    for t_s in (100.0, 100.033, 3.0, 3.033):
        hand.clock.now += 0.033
        hand.stream.submit(picture(), t_s)
        hand.get(hand.outputs[-1].index + 1 if hand.outputs else 0)
    times = [f.t_s for f in hand.outputs]
    assert times == pytest.approx([100.0, 100.033, 100.0663, 100.0993], abs=1e-3)
    hand.close()


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


def test_an_engine_switched_off_under_its_streams_lets_the_picture_pass() -> None:
    """When the host closes first, frames go on untouched and no thread spins."""
    hand = opened(FakeEngine(), backoff_s=(60, 60))
    hand.send_and_get(2)
    hand.host.close()
    hand.send_and_get(2)
    assert hand.state() == "failed"
    assert hand.engine.prepared == [0, 1]
    assert [f.relit for f in hand.outputs] == [True, True, False, False]
    hand.stream.close()


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
