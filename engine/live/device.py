"""The device thread of one engine, shared by every stream of that engine: Work in, relit frames out, fairly.

Each lane (a stream's host thread) may leave at most one Work here; lanes are served in the order they came, so each
waits for at most one Work of every other. An engine with `batch_limit` above 1 renders several at once: Work that waits
joins at its next step, and no step waits for more Work. A render that never returns costs its thread, not the engine:
the thread is left behind, every lane it rendered for fails, and a new one goes on. The clock is an argument.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from engine.cpu_time import CPU
from engine.errors import EngineError
from engine.frames import Frame, Work
from engine.protocols import Engine, EngineTraits, Stream

log = logging.getLogger(__name__)

NO_ANSWER = "The engine does not answer; you are seen without the light."
MAX_LEAKED = 4  # threads left in hanging calls before nothing new is started; one that returns counts no more
JOIN_S = 2.0


class Renderer(Protocol):
    """A lane, as the device thread sees it. None of its methods raises."""

    def begin(self) -> Stream | None:
        """Returns the stream to render for; None when nobody wants the result any more."""

    def finish(self, stream: Stream, work: Work, result: list[Frame] | Exception, seconds: float) -> None:
        """Takes what was rendered, or the exception that kept it from being, and the seconds it took."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """Holds what is being rendered for one lane."""

    stream: Stream
    work: Work
    since_s: float


class DeviceThread:
    """Warms `engine` up on its own thread, then renders what lanes leave. Any thread; `close` joins."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine = engine
        self.name = engine.name
        self.clock = clock
        self._changed = threading.Condition()
        self._pending: OrderedDict[Renderer, Work] = OrderedDict()
        self._running: dict[Renderer, _Job] = {}
        self._progress_s = 0.0  # when windows rendered together last took a step
        self._ready = False
        self._error: Exception | None = None
        self._warm_asked = True
        self._closed = False
        self._leaked: list[threading.Thread] = []
        self._abandoned: set[Renderer] = set()  # lanes whose render hangs in a leaked thread
        with self._changed:  # it looks at itself before the assignment is done
            self._thread = self._start()

    @property
    def traits(self) -> EngineTraits:
        """The traits of the engine."""
        return self.engine.traits

    @property
    def ready(self) -> bool:
        """True once the engine is warm."""
        return self._ready

    @property
    def error(self) -> Exception | None:
        """The exception that ended the warm-up, if one did."""
        return self._error

    @property
    def closed(self) -> bool:
        return self._closed

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Waits until the engine is warm, its warm-up failed or it is closed. True: it is warm."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ready or self._closed or (self._error is not None and not self._warm_asked), timeout_s
            )
            return self._ready

    def retry_warmup(self) -> None:
        """Tries a failed warm-up again."""
        with self._changed:
            if not self._ready:
                self._error, self._warm_asked = None, True
                self._changed.notify_all()

    def wait_free(self, lane: Renderer, stop: Callable[[], bool]) -> bool:
        """Waits until `lane` has no Work waiting here. False: `stop()` says so, or the thread is closed."""
        with self._changed:
            self._changed.wait_for(lambda: lane not in self._pending or self._closed or stop())
            return not (self._closed or stop())

    def put(self, lane: Renderer, work: Work) -> None:
        """Takes one Work for the device. Call `wait_free` first."""
        with self._changed:
            assert lane not in self._pending, "a lane has one Work here at most"
            if not self._closed:
                self._pending[lane] = work
                self._changed.notify_all()

    def has_pending(self, lane: Renderer) -> bool:
        """True while the lane's Work waits for its turn."""
        with self._changed:
            return lane in self._pending

    def detach(self, lane: Renderer, timeout_s: float = JOIN_S) -> bool:
        """Gives up what `lane` left and waits for its render to end. False: it does not end."""
        with self._changed:
            self._pending.pop(lane, None)
            if lane in self._abandoned:
                self._abandoned.discard(lane)  # told once: the lane's next stream is another
                return False
            return self._changed.wait_for(lambda: lane not in self._running, timeout_s)

    def notify(self) -> None:
        """Wakes waiting lanes, so that they ask their `stop` again."""
        with self._changed:
            self._changed.notify_all()

    def hung(self, lane: Renderer, now_s: float, limit_s: float) -> bool:
        """True where `lane`'s render, or its present step in a shared call, has run longer than `limit_s`."""
        with self._changed:
            return lane in self._running and now_s - max(self._running[lane].since_s, self._progress_s) > limit_s

    def cancel(self, lane: Renderer) -> None:
        """Leaves the thread behind that renders for `lane`; a new one goes on, and lanes that shared the call fail."""
        with self._changed:
            if lane not in self._running or self._closed:
                return
            log.error("engine %s: a render never returned; its thread is left behind", self.name)
            self._leaked.append(self._thread)
            shared, self._running = self._running, {}
            self._abandoned |= shared.keys()
            error = EngineError(NO_ANSWER)
            for other, job in shared.items():  # before the new thread starts: it would go on with their streams
                if other is not lane:
                    other.finish(job.stream, job.work, error, self.clock() - job.since_s)
            self._thread = self._start()
            self._changed.notify_all()

    def mark_leaked(self, thread: threading.Thread) -> None:
        """Counts a lane's thread that hangs inside the engine."""
        with self._changed:
            self._leaked.append(thread)

    @property
    def too_many_leaks(self) -> bool:
        """True while too many calls hang: nothing new may be started on this engine until some return."""
        with self._changed:
            self._leaked = [thread for thread in self._leaked if thread.is_alive()]
            return len(self._leaked) >= MAX_LEAKED

    def close(self) -> None:
        """Stops the device thread and frees the engine. Waits at most `JOIN_S` for a render under way."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._pending.clear()
            self._changed.notify_all()
            thread = self._thread
        thread.join(JOIN_S)
        if thread.is_alive():
            log.warning("engine %s: the device thread did not end within %.0f s", self.name, JOIN_S)
        else:
            self.engine.close()

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=f"relight-device-{self.name}", daemon=True)
        self._thread = thread  # before it starts: it asks whether it is still the one
        thread.start()
        return thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._warm_asked or self._pending)
                if self._closed:
                    return
                warm, self._warm_asked = self._warm_asked, False
            if warm:
                self._warm()
            elif self.traits.batch_limit > 1:
                self._render_together()
            else:
                self._render_next()
            if threading.current_thread() is not self._thread:
                return  # another thread serves the lanes since

    def _render_next(self) -> None:
        """Renders the oldest Work, alone."""
        with self._changed:
            taken = self._taken()
        if taken is None:
            return
        lane, job = taken
        result: list[Frame] | Exception
        try:
            with CPU.part("render"):
                result = job.stream.render(job.work)
        except Exception as error:  # the worker boundary
            result = error
        self._finish(lane, job, result)

    def _render_together(self) -> None:
        """Renders the Work that waits, and that comes until nothing is under way, in shared calls."""
        under_way: dict[int, tuple[Renderer, _Job]] = {}  # by place in the order taken
        count = 0

        def take(free: int) -> list[tuple[Stream, Work]]:
            nonlocal count
            with self._changed:
                if threading.current_thread() is not self._thread:
                    raise EngineError("given up as hanging")  # ends what was under way with it
                self._progress_s = self.clock()
                if self._closed:
                    return []
                new: list[_Job] = []
                while len(new) < free and (taken := self._taken()) is not None:
                    under_way[count] = taken
                    count += 1
                    new.append(taken[1])
            return [(job.stream, job.work) for job in new]

        try:
            for place, result in self.engine.render_together(take):  # type: ignore[attr-defined]
                self._finish(*under_way.pop(place), result)
        except Exception as error:  # the worker boundary
            for lane, job in under_way.values():
                self._finish(lane, job, error)

    def _taken(self) -> tuple[Renderer, _Job] | None:
        """Takes the oldest Work that somebody still wants; it counts as running from here on."""
        while self._pending and not self._closed:
            lane, work = self._pending.popitem(last=False)
            self._changed.notify_all()  # the lane may prepare its next frame while this one is rendered
            stream = lane.begin()
            if stream is not None and self.too_many_leaks:  # a lane that opened before the last of them was given up
                lane.finish(stream, work, EngineError(NO_ANSWER), 0.0)
            elif stream is not None:
                self._running[lane] = job = _Job(stream, work, self.clock())
                return lane, job
        return None

    def _finish(self, lane: Renderer, job: _Job, result: list[Frame] | Exception) -> None:
        lane.finish(job.stream, job.work, result, self.clock() - job.since_s)
        with self._changed:
            if threading.current_thread() is self._thread:
                self._running.pop(lane, None)
            else:
                self._abandoned.discard(lane)
            self._changed.notify_all()

    def _warm(self) -> None:
        error: Exception | None = None
        try:
            self.engine.warmup()
        except Exception as caught:  # the worker boundary: an engine that cannot start must not take the server with it
            log.exception("engine %s: warm-up failed", self.name)
            error = caught
        with self._changed:
            self._error = error
            self._ready = error is None
            self._changed.notify_all()


def public_message(error: Exception) -> str:
    """Returns what a participant may read about `error`; the log has the rest."""
    if isinstance(error, EngineError):
        return error.message
    return f"The engine stopped ({type(error).__name__}); you are seen without the light meanwhile."
