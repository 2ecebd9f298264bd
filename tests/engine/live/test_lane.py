"""engine.live.lane, through the live stream: engines that fail, collect windows, or meet another size or light."""

import threading
import time
from collections import deque

import numpy as np
import pytest

from engine.errors import EngineUnavailable
from engine.frames import Frame
from tests.engine.fakes import (
    NIGHT,
    FakeEngine,
    Hand,
    change,
    opened,
    picture,
    until,
)

QUICK = (0.001, 0.004)  # backoff for tests that wait for a reopening


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


def test_slow_work_is_done_beside_live_frames() -> None:
    """A live stream is opened so that no frame waits for work that takes longer than one."""
    hand = opened(FakeEngine())
    assert [config.slow_work for config in hand.engine.configs] == ["beside"]
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
