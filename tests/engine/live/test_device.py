"""engine.live.device with an engine that renders several participants at once: fair, apart, nobody held by another."""

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from engine.errors import EngineError
from engine.frames import Frame, Work
from engine.live.device import MAX_LEAKED, DeviceThread
from engine.protocols import EngineTraits, NextBatch, Stream
from tests.engine.fakes import DAY, PATIENCE_S, Clock, FakeEngine, FakeStream, Gate, live_stream, picture, until


class BatchingFake(FakeEngine):
    """Takes `steps_of(work)` shared steps for a window, then renders it as FakeEngine does."""

    def __init__(
        self,
        limit: int = 2,
        steps_of: Callable[[Work], int] = lambda work: 2,
        on_step: Callable[[list[int]], None] = lambda who: None,
        **hooks: object,
    ) -> None:
        super().__init__(**hooks)  # type: ignore[arg-type]
        self.traits = EngineTraits(batch_limit=limit)
        self.steps_of, self.on_step = steps_of, on_step
        self.calls: list[list[int]] = []  # who shared each step

    def render_together(self, take: NextBatch) -> Iterator[tuple[int, list[Frame] | Exception]]:
        left: dict[int, tuple[Stream, Work, int]] = {}
        count = 0
        while True:
            new = take(self.traits.batch_limit - len(left))
            for stream, work in new:
                left[count] = stream, work, self.steps_of(work)
                count += 1
            if not left:
                return
            self.calls.append([who(work) for _, work, _ in left.values()])
            self.on_step(self.calls[-1])
            for i, (stream, work, steps) in list(left.items()):
                left[i] = stream, work, steps - 1
                if steps == 1:
                    del left[i]
                    yield i, self.ended(stream, work)

    def ended(self, stream: Stream, work: Work) -> list[Frame] | Exception:
        try:
            return stream.render(work)
        except Exception as error:  # as engine.diffusion.batching does
            return error


def who(work: Work) -> int:
    """The participant, by the value of its pictures."""
    return int(work.frames[0].rgb[0, 0, 0])


class Steps:
    """A hand on the device: every shared step waits for `go`."""

    def __init__(self) -> None:
        self.held = False
        self.waiting: list[int] | None = None
        self._go = threading.Semaphore(0)

    def __call__(self, who: list[int]) -> None:
        if self.held:
            self.waiting = who
            assert self._go.acquire(timeout=30)
            self.waiting = None

    def go(self, steps: int = 1) -> None:
        self._go.release(steps)

    def free(self) -> None:
        self.held = False
        self.go(100)


class Room:
    """Several participants on one engine."""

    def __init__(self, engine: FakeEngine, count: int, **options: object) -> None:
        self.clock = Clock()
        self.host = DeviceThread(engine, self.clock)
        self.streams = [
            live_stream(self.host, DAY, lambda: None, self.clock, **options)  # type: ignore[arg-type]
            for _ in range(count)
        ]
        self.out: list[list[int]] = [[] for _ in range(count)]
        self.indices: list[list[int]] = [[] for _ in range(count)]  # of the frames in `out`
        until(lambda: all(self.state(i) == "ok" for i in range(count)))

    def state(self, i: int) -> str:
        return self.streams[i].snapshot().engine["state"]

    def send(self, *who: int) -> None:
        self.clock.now += 0.001
        for i in who:
            self.streams[i].submit(picture(i), self.clock.now)

    def relit(self, i: int) -> list[int]:
        """What came out for participant `i` so far, relit: the values of its pictures."""
        while (got := self.streams[i].next_output(self.clock.now)[0]) is not None:
            if got.relit:
                self.out[i].append(int(np.asarray(got.rgb)[0, 0, 0]))
                self.indices[i].append(got.index)
        return self.out[i]

    def both_relit(self) -> bool:
        """Sends one more frame of participants 0 and 1; whether something relit of both ever came."""
        self.clock.now += 0.01
        self.send(0, 1)
        return bool(self.relit(0)) and bool(self.relit(1))

    def close(self) -> None:
        for stream in self.streams:
            stream.close()
        self.host.close()


def test_two_participants_share_calls_and_keep_their_own_results() -> None:
    """Windows ready together are rendered together: as many calls as one needs, and each gets its own picture."""
    steps = Steps()
    engine = BatchingFake(2, lambda work: 4, steps)
    room = Room(engine, 2)
    steps.held = True
    room.send(0)
    until(lambda: steps.waiting)
    room.send(1)
    until(lambda: room.host._pending)
    engine.calls.clear()
    steps.free()
    until(lambda: room.relit(0) and room.relit(1))
    assert room.relit(0) == [101]  # its picture + 100 + the first frame seen
    assert room.relit(1) == [102]
    assert [0, 1] in engine.calls
    assert len(engine.calls) <= 5
    room.close()


def test_nobody_is_passed_over_twice() -> None:
    """Five participants who always have work and two places: between two turns of one, nobody has three."""
    steps = Steps()
    served: list[int] = []
    engine = BatchingFake(2, lambda work: 1, steps, on_render=lambda work: served.append(who(work)))
    room = Room(engine, 5)
    steps.held = True
    for _ in range(6):
        room.send(*range(5))
        before = len(served)
        until(lambda: len(room.host._pending) >= 3 and steps.waiting)
        steps.go(1)
        until(lambda n=before: len(served) > n)
    room.send(*range(5))
    steps.free()
    until(lambda: len(set(served)) == 5 and len(served) >= 10)
    for i in range(5):
        turns = [n for n, one in enumerate(served) if one == i]
        for a, b in pairwise(turns):
            between = served[a + 1 : b]
            assert all(between.count(other) <= 2 for other in set(between))
    room.close()


def test_a_long_window_does_not_hold_the_others() -> None:
    """While one participant's window takes 25 steps, another's windows of 2 come and go beside it."""
    steps = Steps()
    engine = BatchingFake(2, lambda work: 25 if who(work) == 0 else 2, steps)
    room = Room(engine, 2)
    steps.held = True
    room.send(0)
    until(lambda: steps.waiting == [0])
    for n in range(3):
        room.send(1)
        until(lambda: room.host._pending)
        steps.go(3)
        until(lambda n=n: len(room.relit(1)) == n + 1)
        until(lambda: steps.waiting)
    assert room.relit(0) == []
    steps.free()
    until(lambda: room.relit(0))
    room.close()


def test_one_that_fails_does_not_take_the_others_with_it() -> None:
    """Its own stream is opened again; the other's frames leave relit."""

    def trouble(work: Work) -> None:
        if who(work) == 0:
            raise RuntimeError("this one is cursed")

    steps = Steps()
    engine = BatchingFake(2, lambda work: 2, steps, on_render=trouble)
    room = Room(engine, 2, backoff_s=(30.0, 30.0))
    steps.held = True
    room.send(0)
    until(lambda: steps.waiting)
    room.send(1)
    until(lambda: room.host._pending)
    steps.free()
    until(lambda: room.state(0) == "failed" and room.relit(1))
    assert room.state(1) == "ok"
    room.close()


def test_a_shared_call_that_raises_fails_those_in_it_and_no_thread() -> None:
    """Everyone is told, and with the next window both are back."""
    once = [True]

    def trouble(sharing: list[int]) -> None:
        if once and len(sharing) == 2:
            once.clear()
            raise RuntimeError("out of memory")

    steps = Steps()

    def step(sharing: list[int]) -> None:
        steps(sharing)
        trouble(sharing)

    engine = BatchingFake(2, lambda work: 3, step)
    room = Room(engine, 2, backoff_s=(0.001, 0.004))
    steps.held = True
    room.send(0)
    until(lambda: steps.waiting)
    room.send(1)
    until(lambda: room.host._pending)
    steps.free()
    until(lambda: engine.opened == 4)
    until(room.both_relit)
    assert engine.closed_streams == 2
    room.close()


def test_a_shared_call_that_hangs_fails_everyone_in_it() -> None:
    """Both participants are told and served by a new thread; when the old one returns, nothing of it is shown."""
    steps = Steps()
    engine = BatchingFake(2, lambda work: 2, steps)
    room = Room(engine, 2, hang_s=5.0, backoff_s=(0.001, 0.004), stall_s=1.0)
    steps.held = True
    room.send(0)
    until(lambda: steps.waiting == [0])
    room.send(1)
    until(lambda: room.host._pending)
    steps.go()
    until(lambda: steps.waiting == [0, 1])
    old = room.host._thread
    room.clock.now += 6.0
    steps.held = False  # whoever comes now passes
    room.send(0)  # sees that its call hangs
    until(lambda: room.host._thread is not old)
    until(lambda: engine.opened >= 4)
    assert engine.closed_streams == 0  # a hanging call still holds both streams

    until(room.both_relit)
    steps.go(10)
    until(lambda: not old.is_alive())
    until(lambda: not room.host._running)
    room.out = [[], []]
    until(room.both_relit)
    assert all(0 not in indices for indices in room.indices)  # frame 0 of each was in the old call
    assert engine.opened == 4  # what the old call ended with fails nobody again
    assert room.host._thread.is_alive()
    room.close()


def test_one_who_leaves_does_not_hold_the_others() -> None:
    """A participant closes while its window is under way; the other's comes out."""
    steps = Steps()
    engine = BatchingFake(2, lambda work: 2, steps)
    room = Room(engine, 2)
    steps.held = True
    room.send(0)
    until(lambda: steps.waiting == [0])
    room.send(1)
    until(lambda: room.host._pending)
    leaving = threading.Thread(target=room.streams[0].close)
    leaving.start()
    steps.free()
    until(lambda: room.relit(1))
    leaving.join(10)
    assert engine.closed_streams == 1
    room.close()


def test_an_engine_of_one_place_renders_as_ever() -> None:
    """`batch_limit` 1 never asks for render_together."""
    engine = BatchingFake(1)
    room = Room(engine, 1)
    room.send(0)
    until(lambda: room.relit(0))
    assert engine.calls == []
    room.close()


def test_a_step_that_goes_on_is_not_hanging() -> None:
    """A window of many steps may take longer than the limit as long as its steps do not."""
    steps = Steps()
    host = DeviceThread(BatchingFake(2, lambda work: 3, steps), clock := Clock())
    assert host.wait_ready(10)
    done: list[object] = []
    lane = LaneOf(host, done)
    steps.held = True
    host.put(lane, Work((Frame(0, 0.0, picture(1)),), (None,), (DAY,), payload=0))
    for _ in range(3):
        until(lambda: steps.waiting)
        clock.now += 4.0
        assert host.hung(lane, clock.now, 3.0)
        assert not host.hung(lane, clock.now, 5.0)
        steps.waiting = None
        steps.go()
    until(lambda: done)
    assert not host.hung(lane, clock.now, 0.0)
    host.close()


def test_work_that_waits_while_too_many_calls_hang_is_not_begun() -> None:
    """A lane may have opened before the last hanging call was given up: its Work fails instead of hanging as well."""
    gate = Gate()
    host = DeviceThread(FakeEngine(on_render=gate))
    assert host.wait_ready(PATIENCE_S)
    leave = threading.Event()
    hanging = [threading.Thread(target=leave.wait) for _ in range(MAX_LEAKED)]
    for thread in hanging:
        thread.start()
        host.mark_leaked(thread)
    gate.shut = True
    done: list[object] = []
    host.put(LaneOf(host, done), Work((Frame(0, 0.0, picture(1)),), (None,), (DAY,), payload=0))
    until(lambda: done)
    assert isinstance(done[0], EngineError)
    assert gate.waiting == 0
    leave.set()
    for thread in hanging:
        thread.join()
    host.close()


class LaneOf:
    """The least a lane is to its host."""

    def __init__(self, host: DeviceThread, done: list[object]) -> None:
        from engine.protocols import StreamConfig

        self._stream = host.engine.open(StreamConfig(DAY))
        self._done = done

    def begin(self) -> Stream | None:
        return self._stream

    def finish(self, stream: Stream, work: Work, result: object, seconds: float) -> None:
        assert isinstance(stream, FakeStream)
        self._done.append(result)
