"""Engines that do not return: the picture goes on, others are served, and close comes back."""

import threading
import time

import pytest

from engine.frames import Frame
from engine.live.device import MAX_LEAKED, DeviceThread
from engine.live.stream import JOIN_S
from tests.engine.fakes import (
    DAY,
    Clock,
    FakeEngine,
    Gate,
    Hand,
    live_stream,
    opened,
    picture,
    until,
)

QUICK = (0.001, 0.004)  # backoff for tests that wait for a reopening


@pytest.mark.parametrize("where", ["on_prepare", "on_render"])
def test_a_hanging_engine_keeps_neither_picture_nor_close(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that never returns: frames go on, another thread takes over, and close comes back."""
    monkeypatch.setattr("engine.live.stream.JOIN_S", 0.05)
    gate = Gate()
    engine = FakeEngine(**{where: gate})
    hand = opened(engine, hang_s=5.0, backoff_s=QUICK)
    hand.send_and_get(2)
    gate.shut = True
    hand.send()
    until(lambda: gate.waiting == 1)
    gate.shut = False  # this one hangs, the next would not
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


def test_close_does_not_wait_for_a_hanging_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving works while a call hangs; the thread ends when the call does."""
    assert JOIN_S <= 2  # the test itself need not wait as long
    monkeypatch.setattr("engine.live.stream.JOIN_S", 0.05)
    gate = Gate()
    hand = opened(FakeEngine(on_prepare=gate))
    gate.shut = True
    hand.send()
    until(lambda: gate.waiting == 1)
    closer = threading.Thread(target=hand.close)
    closer.start()
    closer.join(8)
    assert not closer.is_alive()
    gate.open()


def test_too_many_hanging_calls_start_nothing_new() -> None:
    """A thoroughly broken engine costs a bounded number of threads."""
    gate = Gate(shut=True)
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
    gate.shut = True
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
