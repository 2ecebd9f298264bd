"""A lane: the host thread that takes a participant's frames through one engine, mailbox → prepare → device → owner.

It waits for a free device slot *before* it takes a frame, so the frame it takes is the newest one there is. An error
ends the engine's stream, never the thread: the lane reports it, and opens the stream again after a wait.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from engine.errors import EngineError
from engine.frames import Frame, Work
from engine.live.actions import LaneRef
from engine.live.device import NO_ANSWER, DeviceThread
from engine.live.mailbox import Mailbox
from engine.protocols import Avatar, Stream, StreamConfig
from engine.stats import Stats
from lcvd.types import Lighting

log = logging.getLogger(__name__)

INPUT_FRAMES = 1  # frames that wait for the host thread: one, so that what is taken is what is newest
DETACH_S = 1.0  # wait for a render under way before its stream is closed
MAX_HELD = 64  # frames an engine may hold back inside its window


class LaneOwner(Protocol):
    """The owner that a lane reports to, on its own or the device thread."""

    stats: Stats

    @property
    def lighting(self) -> Lighting: ...

    @property
    def avatar(self) -> Avatar | None: ...

    def lane_opened(self, lane: "Lane") -> None: ...

    def lane_result(self, lane: "Lane", work: Work, frames: list[Frame]) -> None: ...

    def lane_passed(self, lane: "Lane", held: list[Frame]) -> None: ...

    def lane_failed(self, lane: "Lane", held: list[Frame], error: Exception) -> float: ...


class Lane:
    """One participant on one engine. `stop` ends it; `join` waits."""

    def __init__(self, owner: LaneOwner, ref: LaneRef, clock: Callable[[], float], wait_s: float = 0.0) -> None:
        assert isinstance(ref.device, DeviceThread), "a lane runs on a device thread"
        self.ref = ref
        self.device = ref.device
        self.mailbox: Mailbox[Frame] = Mailbox(INPUT_FRAMES)
        self._owner = owner
        self._clock = clock
        self._stream: Stream | None = None
        self._lighting: Lighting | None = None
        self._shape: tuple[int, ...] | None = None
        self._held: deque[Frame] = deque(maxlen=MAX_HELD)  # given to prepare, not yet seen again
        self._holding = threading.Lock()  # the device thread takes from them, too
        self._error: Exception | None = None
        self._reset = False
        self._stopped = threading.Event()
        self._busy_since: float | None = None
        self._wait_s = wait_s
        self.thread = threading.Thread(target=self._run, name=f"relight-lane-{self.device.name}", daemon=True)
        self.thread.start()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def reset(self) -> None:
        """Begins anew with the next frame: what the engine knows of the picture is no longer true."""
        self.mailbox.clear()
        self._reset = True

    def stop(self) -> None:
        """Ends the thread as soon as its present call returns."""
        self._stopped.set()
        self.mailbox.close()
        self.device.notify()

    def join(self, timeout_s: float) -> bool:
        """Waits for the end. False: a call into the engine does not return."""
        if self.thread is not threading.current_thread():
            self.thread.join(timeout_s)
        return not self.thread.is_alive()

    def hung(self, now_s: float, limit_s: float) -> bool:
        """True where a call into the engine has not returned for `limit_s`."""
        busy = self._busy_since
        return (busy is not None and now_s - busy > limit_s) or self.device.hung(self, now_s, limit_s)

    def begin(self) -> Stream | None:
        """Returns the stream to render for; None when nobody wants the result any more."""
        return None if self._error is not None or self.stopped else self._stream

    def finish(self, stream: Stream, work: Work, result: list[Frame] | Exception, seconds: float) -> None:
        """Passes on what was rendered, or fails; on the device thread. Never raises."""
        if stream is not self._stream:
            return  # given up as hanging, and another one opened since
        self._owner.stats.add("render", seconds)
        try:
            if isinstance(result, Exception):
                raise result
            _check(work, result, self._output_size)
        except Exception as error:  # the worker boundary
            self._error = error
            self.mailbox.wake()
            return
        last = work.frames[-1].index
        with self._holding:
            while self._held and self._held[0].index <= last:
                self._held.popleft()
        self._owner.lane_result(self, work, result)

    def _run(self) -> None:
        while not self._stopped.wait(self._wait_s):
            try:
                if self.device.too_many_leaks:
                    raise EngineError(NO_ANSWER)
                self._open()
                while not self.stopped and self._error is None:
                    self._step()
            except Exception as caught:  # the worker boundary
                self._error = caught
            self._busy_since = None
            self._close_stream()
            trouble, self._error = self._error, None
            held = self._take_held()
            if trouble is None or self.stopped:
                break
            self._wait_s = self._owner.lane_failed(self, held, trouble)

    def _open(self) -> None:
        """Waits for a warm engine and opens a stream on it."""
        self._check_device()
        if not self.device.ready:
            self.device.retry_warmup()
        while not self.device.wait_ready(0.1):
            if self.stopped:
                return
            self._check_device()
            if self.device.error is not None:
                raise self.device.error
        self._reset, self._shape = False, None  # before the controls are read: a reset that comes later is not lost
        self._lighting = self._owner.lighting
        self._busy_since = self._clock()
        config = StreamConfig(self._lighting, self._owner.stats, self._owner.avatar, slow_work="beside")
        self._stream = self.device.engine.open(config)
        self._busy_since = None
        self._owner.lane_opened(self)

    def _step(self) -> None:
        """Takes one frame through the host half."""
        if not self.device.wait_free(self, lambda: self.stopped or self._error is not None):
            self._check_device()
            return
        frame = self.mailbox.get()
        if frame is None or self._error is not None:
            return
        resized = self._shape is not None and self._shape != frame.rgb.shape
        anew = self._reset or (resized and self._output_size is None)
        if anew:
            self._owner.lane_passed(self, self._take_held())
        self._held.append(frame)  # from here on it comes out, untouched if all else fails
        self._check_device()
        if anew:
            self._close_stream()
            self._open()
        stream = self._stream
        if stream is None:
            return
        self._shape = frame.rgb.shape
        lighting = self._owner.lighting
        if lighting is not self._lighting:
            stream.set_lighting(lighting)
            self._lighting = lighting
        stats = self._owner.stats
        self._busy_since = started = self._clock()
        stats.add("wait", started - frame.arrived_s)
        with stats.stage("prepare"):
            work = stream.prepare(frame)
        self._busy_since = None
        if work is not None:
            self.device.put(self, work)

    def _take_held(self) -> list[Frame]:
        with self._holding:
            held = list(self._held)
            self._held.clear()
        return held

    @property
    def _output_size(self) -> tuple[int, int] | None:
        """(height, width) of the engine's pictures, where it is not the frame's."""
        return self.device.traits.output_size

    def _check_device(self) -> None:
        if self.device.closed:
            raise EngineError("The engine was switched off; you are seen without the light.")

    def _close_stream(self) -> None:
        stream, ended = self._stream, self.device.detach(self, DETACH_S)
        self._stream = None
        if stream is None or not ended:  # a render that hangs still holds the stream: leave it alone
            return
        try:
            stream.close()
        except Exception:  # the worker boundary: closing must not keep a participant from leaving
            log.exception("engine %s: a stream failed to close", self.device.name)


def _check(work: Work, frames: list[Frame], output_size: tuple[int, int] | None) -> None:
    """Checks what render promises: a frame for each of `work`, same index and t_s; its size, or the engine's own."""
    if len(frames) != len(work.frames):
        raise EngineError(f"render gave {len(frames)} frames for {len(work.frames)}")
    for given, made in zip(work.frames, frames, strict=True):
        shape = given.rgb.shape if output_size is None else (*output_size, 3)
        if (made.index, made.t_s, made.rgb.shape) != (given.index, given.t_s, shape):
            raise EngineError(
                f"render gave frame {made.index} at {made.t_s} s of {made.rgb.shape}"
                f" for frame {given.index} at {given.t_s} s, which should be {shape}"
            )
        if made.rgb.dtype != given.rgb.dtype:
            raise EngineError(f"render gave {made.rgb.dtype} for frame {given.index}, not {given.rgb.dtype}")
