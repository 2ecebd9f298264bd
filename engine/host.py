"""One engine and its device thread, shared by every stream of that engine: Work in, relit frames out, fairly.

Each lane (a stream's host thread) may leave at most one Work here; lanes are served in the order they came, so each
waits for at most one Work of every other. A render that never returns costs its thread, not the engine: the
thread is abandoned and a new one goes on. The clock is an argument.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from engine.errors import EngineError
from engine.frames import Work
from engine.protocols import Engine

log = logging.getLogger(__name__)

MAX_STUCK = 4  # threads lost to hanging calls before nothing new is started; they count again once they return
JOIN_S = 2.0


class Renderer(Protocol):
    """A lane, as the device thread sees it. `render` never raises."""

    def render(self, work: Work) -> None: ...


class EngineHost:
    """Warms `engine` up on its own thread, then renders what lanes leave. Any thread; `close` joins."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine = engine
        self.name = engine.name
        self.clock = clock
        self._changed = threading.Condition()
        self._pending: OrderedDict[Renderer, Work] = OrderedDict()
        self._running: Renderer | None = None
        self._running_since = 0.0
        self._ready = False
        self._error: Exception | None = None
        self._warm_asked = True
        self._closed = False
        self._stuck: list[threading.Thread] = []
        self._abandoned: set[Renderer] = set()  # lanes whose render hangs in a stuck thread
        self._thread = self._start()

    @property
    def ready(self) -> bool:
        """Warmed up."""
        return self._ready

    @property
    def error(self) -> Exception | None:
        """Why the warm-up failed, if it did."""
        return self._error

    @property
    def closed(self) -> bool:
        return self._closed

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait until the engine is warm, its warm-up failed or it is closed; True when it is warm."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ready or self._closed or (self._error is not None and not self._warm_asked), timeout_s
            )
            return self._ready

    def rewarm(self) -> None:
        """Try a failed warm-up again."""
        with self._changed:
            if not self._ready:
                self._error, self._warm_asked = None, True
                self._changed.notify_all()

    def wait_free(self, lane: Renderer, stop: Callable[[], bool]) -> bool:
        """Wait until `lane` has no Work waiting here; False when `stop()` or closed."""
        with self._changed:
            self._changed.wait_for(lambda: lane not in self._pending or self._closed or stop())
            return not (self._closed or stop())

    def put(self, lane: Renderer, work: Work) -> None:
        """Leave one Work for the device. Call `wait_free` first."""
        with self._changed:
            assert lane not in self._pending, "a lane has one Work here at most"
            if not self._closed:
                self._pending[lane] = work
                self._changed.notify_all()

    def detach(self, lane: Renderer, timeout_s: float = JOIN_S) -> bool:
        """Take back what `lane` left and wait for its render to end; False when it does not."""
        with self._changed:
            self._pending.pop(lane, None)
            return self._changed.wait_for(lambda: self._running is not lane, timeout_s) and lane not in self._abandoned

    def nudge(self) -> None:
        """Let waiting lanes look at their `stop` again."""
        with self._changed:
            self._changed.notify_all()

    def hung(self, lane: Renderer, now_s: float, limit_s: float) -> bool:
        """Whether `lane`'s render has run longer than `limit_s`."""
        with self._changed:
            return self._running is lane and now_s - self._running_since > limit_s

    def abandon_render(self, lane: Renderer) -> None:
        """Give up on the thread that renders for `lane`, and go on with a new one."""
        with self._changed:
            if self._running is not lane or self._closed:
                return
            log.error("engine %s: a render never returned; its thread is abandoned", self.name)
            self._stuck.append(self._thread)
            self._abandoned.add(lane)
            self._running = None
            self._thread = self._start()
            self._changed.notify_all()

    def lost(self, thread: threading.Thread) -> None:
        """Count a lane's thread that hangs inside the engine."""
        with self._changed:
            self._stuck.append(thread)

    @property
    def exhausted(self) -> bool:
        """Too many calls hang: nothing new may be started on this engine until some return."""
        with self._changed:
            self._stuck = [thread for thread in self._stuck if thread.is_alive()]
            return len(self._stuck) >= MAX_STUCK

    def close(self) -> None:
        """Stop the device thread and free the engine. Waits at most `JOIN_S` for a render under way."""
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
        thread.start()
        return thread

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._warm_asked or self._pending)
                if self._closed:
                    return
                warm, self._warm_asked = self._warm_asked, False
                if not warm:
                    lane, work = self._pending.popitem(last=False)
                    self._running, self._running_since = lane, self.clock()
                    self._changed.notify_all()  # the lane may prepare its next frame while this one is rendered
            if warm:
                self._warm()
                continue
            lane.render(work)
            with self._changed:
                if me is not self._thread:
                    self._abandoned.discard(lane)
                    return  # another thread serves the lanes since
                self._running = None
                self._changed.notify_all()

    def _warm(self) -> None:
        error: Exception | None = None
        try:
            self.engine.warmup()
        except Exception as caught:  # the worker door: an engine that cannot start must not take the server with it
            log.exception("engine %s: warm-up failed", self.name)
            error = caught
        with self._changed:
            self._error = error
            self._ready = error is None
            self._changed.notify_all()


def public_message(error: Exception) -> str:
    """What a participant may read about `error`; the log has the rest."""
    if isinstance(error, EngineError):
        return error.message
    return f"The relighting engine stopped ({type(error).__name__}); you are seen without the light meanwhile."
