"""The live stream of one participant: submit → mailbox → prepare | render → overlay → pacer → next_output.

One host thread a lane (`engine.live.lane`), one device thread an engine (`engine.live.device`). Every method may be
called from any thread, and none but `close` waits. `engine.live.state` decides what is shown and by which engine; this
file owns the lock and the clock and performs its actions. Order of locks: this one, then a device's or a mailbox's; a
device that holds its own never calls back here. No queue here is without a bound.
"""

import logging
import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import FrameError
from engine.frames import Frame, Work
from engine.live.actions import Clear, Close, Discard, Feed, LaneRef, Open, Reset, Show
from engine.live.controls import Controls, EnginePair, Placeholder
from engine.live.device import public_message
from engine.live.health import BACKOFF_S
from engine.live.lane import Lane
from engine.live.output import LiveSnapshot, OutputFrame
from engine.live.pacer import Pacer
from engine.live.state import StreamState
from engine.protocols import Avatar
from engine.stats import Stats
from lcvd.types import Lighting

log = logging.getLogger(__name__)

HANG_S = 10.0  # a call into the engine that takes longer will not return
JOIN_S = 2.0


class LiveStream:
    """One participant. `on_output()` is called, on any thread, whenever `next_output` may have something new.

    The devices of `controls` are `DeviceThread`s.
    """

    def __init__(
        self,
        controls: Controls,
        on_output: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        stall_s: float | None = None,  # None: the engine's own, or STALL_S
        hang_s: float = HANG_S,
        backoff_s: tuple[float, float] = BACKOFF_S,
    ) -> None:
        self.stats = Stats(clock)
        self._clock = clock
        self._on_output = on_output
        self._hang_s = hang_s
        self._lock = threading.Lock()
        self._pacer: Pacer[OutputFrame] = Pacer()
        self._lanes: dict[LaneRef, Lane] = {}
        self._ended: list[Lane] = []
        self._drops = 0  # in the mailboxes of lanes that are gone
        self._logged = ""
        with self._lock:  # a lane's thread may report before the assignment is done
            self._state = StreamState(controls, stall_s=stall_s, backoff_s=backoff_s)
            self._perform()

    # ---- frames

    def submit(self, rgb: NDArray[np.uint8], t_s: float) -> None:
        """Gives one picture, uint8 [H,W,3], with its presentation time. Raises FrameError when it is no picture."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
            raise FrameError(f"frame is {rgb.dtype}{list(rgb.shape)}", "send uint8 [H,W,3], H and W at least 1")
        now_s = self._clock()
        if self.controls.mirror:
            rgb = np.asarray(cv2.flip(rgb, 1), np.uint8)
        self.stats.frame_in()
        with self._lock:
            if self._state.closed:
                return
            late = self._state.frame(rgb, t_s, now_s)
            shown = self._perform()
            suspects = [self._lanes[ref] for ref in self._state.lanes] if late else []
        for lane in suspects:
            if lane.hung(now_s, self._hang_s):
                self._replace(lane)
        if shown:
            self._notify()

    def next_output(self, now_s: float) -> tuple[OutputFrame | None, float]:
        """Returns the picture due at `now_s`, or None, and the seconds after which to ask again (or at `on_output`)."""
        with self._lock:
            frame, wait_s = self._pacer.take(now_s)
            if frame is not None and self._state.sent(frame):
                self.stats.forget_latency()  # another engine has another delay, and the sound follows it
        if frame is not None:
            self.stats.frame_out(now_s - frame.arrived_s)
        return frame, wait_s

    # ---- control

    @property
    def controls(self) -> Controls:
        """The controls as they were last applied."""
        return self._state.controls

    def apply(self, controls: Controls) -> None:
        """Takes what the participant asks for now, all of it, from the next prepared frame on.

        A light is reached by a transition. A mirror or a pause throws away what is under way. Another engine takes over
        once it is ready, but an avatar at once: from then on the camera is not shown.
        """
        self.fit(controls.placeholder, controls.engine)  # outside the lock: it takes its time
        with self._lock:
            before = self.controls.engine.device
            self._state.apply(controls, self._clock())
            changed = self._perform() or controls.engine.device is not before
        if changed:
            self._notify()

    def fit(self, placeholder: Placeholder | None, engine: EnginePair) -> None:
        """Scales `placeholder` to the sizes that may be shown next, for `apply` to find; 20 ms, and no lock is held."""
        for device in (self._state.lane.device, engine.device):
            if placeholder is not None and device.traits.shows_avatar:
                placeholder.fitted(device.traits)

    @property
    def hides_camera(self) -> bool:
        """True while an avatar is shown: the camera's picture is not sent."""
        return self._state.fallback is not None

    def snapshot(self) -> LiveSnapshot:
        """Returns what the participant's page shows."""
        stats = self.stats.snapshot()
        with self._lock:
            height, width = self._state.arrivals.shape[:2]
            return LiveSnapshot(
                fps_in=stats.fps_in,
                fps_out=stats.fps_out,
                drops=self._drops + self._pacer.drops + sum(lane.mailbox.drops for lane in self._lanes.values()),
                width=width,
                height=height,
                latency_ms={"p50": stats.latency_ms["p50"], "p95": stats.latency_ms["p95"]},
                stages=stats.stages,
                face=self._state.face,
                engine=self._state.engine,
            )

    def queues(self) -> dict[str, int]:
        """Returns how many frames wait: for `prepare` (mailbox), for the device, and for their time (pacer)."""
        with self._lock:
            lanes = list(self._lanes.values())
            scheduled = len(self._pacer)
        waiting = sum(lane.device.has_pending(lane) for lane in lanes)
        return {"mailbox": sum(len(lane.mailbox) for lane in lanes), "device": waiting, "pacer": scheduled}

    def close(self) -> None:
        """Frees everything. Waits for the lanes' threads, `JOIN_S` at most: a hanging engine does not keep anyone."""
        with self._lock:
            self._state.close()
            self._perform()
            ended, self._ended = self._ended, []
        deadline = time.monotonic() + JOIN_S
        for lane in ended:
            if not lane.join(max(0.0, deadline - time.monotonic())):
                lane.device.mark_leaked(lane.thread)
                log.warning("engine %s does not return; its thread is left behind", lane.device.name)

    # ---- what lanes report, on their own or the device thread

    @property
    def lighting(self) -> Lighting:
        """The light as it was last set."""
        return self.controls.lighting

    @property
    def avatar(self) -> Avatar | None:
        """The portrait and its settings as they were last set."""
        return self.controls.avatar

    def lane_opened(self, lane: Lane) -> None:
        """The lane's stream is open."""
        with self._lock:
            self._state.opened(lane.ref, self._clock())
            self._perform()

    def lane_result(self, lane: Lane, work: Work, frames: list[Frame]) -> None:
        """The lane rendered `frames`: they are drawn outside the lock, and shown unless they are stale by then."""
        with self._lock:
            overlay = self._state.result(lane.ref, work, self._clock())
            self._perform()
        if overlay is None:
            return
        with self.stats.stage("view"):
            outputs = overlay.draw(work, frames, lane.device.name, self.stats)
        with self._lock:
            self._state.drawn(outputs)
            shown = self._perform()
        if shown:
            self._notify()

    def lane_passed(self, lane: Lane, held: list[Frame]) -> None:
        """The lane gives back what its engine held when the picture changed its size."""
        with self._lock:
            self._state.passed(lane.ref, held)
            self._perform()
        self._notify()

    def lane_failed(self, lane: Lane, held: list[Frame], error: Exception) -> float:
        """The lane's engine raised; `held` came back from it. Returns the seconds until it may try again."""
        if (what := repr(error)) != self._logged:  # once with traceback; the same again is a line
            log.error("engine %s failed", lane.device.name, exc_info=error)
            self._logged = what
        else:
            log.info("engine %s failed again: %s", lane.device.name, what)
        with self._lock:
            waiting = list(iter(lane.mailbox.pop, None))
            wait_s = self._state.failed(lane.ref, [*held, *waiting], public_message(error))
            self._perform()
        self._notify()
        return wait_s

    # ---- inside

    def _perform(self) -> bool:
        """Does what the state asks for, with the lock held. True: something was scheduled for sending."""
        actions, shown = self._state.actions, False
        while actions:
            action = actions.pop(0)  # one that raises is not done again
            match action:
                case Open(ref, wait_s):
                    self._lanes[ref] = Lane(self, ref, self._clock, wait_s)
                case Feed(ref, frame):
                    self._lanes[ref].mailbox.put(frame)
                case Reset(ref):
                    self._lanes[ref].reset()
                case Close(ref):
                    self._end(self._lanes.pop(ref))
                case Show(frames):
                    taken = self._pacer.put(frames, self._clock())
                    if frames[0].relit:
                        self.stats.count("superseded", len(frames) - taken)
                    shown = True
                case Clear():
                    self._pacer.flush()
                case Discard(count):
                    self.stats.count("superseded", count)
        return shown

    def _end(self, lane: Lane) -> None:
        """The lane ends as soon as its present call returns."""
        self._drops += lane.mailbox.drops
        lane.stop()
        self._ended = [old for old in self._ended if old.thread.is_alive()] + [lane]

    def _replace(self, lane: Lane) -> None:
        """The lane hangs: its thread is left behind, and another one goes on."""
        with self._lock:
            if not self._state.hung(lane.ref):
                return
            log.error("engine %s has not answered for %.0f s", lane.device.name, self._hang_s)
            self._perform()
        lane.device.cancel(lane)
        if lane.hung(self._clock(), self._hang_s):
            lane.device.mark_leaked(lane.thread)

    def _notify(self) -> None:
        try:
            self._on_output()
        except Exception:  # the worker boundary: a reader's mistake must not stop the stream
            log.exception("on_output raised")
