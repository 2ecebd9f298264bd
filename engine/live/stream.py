"""The live stream of one participant: submit → mailbox → prepare | render → view → pacer → next_output.

One host thread a stream (`lane.py`), one device thread an engine (`host.py`); every method may be called from any
thread and none but `close` waits. Whatever the engine does, the picture goes on: while it warms up, fails, falls
behind or hangs, frames leave untouched (of an avatar's owner: what `standby.py` has, never the camera), and it comes
back by itself (`health.py`). No queue here is without a bound. Which engine makes the pictures: `lanes.py`.
"""

import logging
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import FrameError
from engine.live.device import EngineHost
from engine.live.fallback import still_of, words
from engine.live.health import BACKOFF_S, EngineState
from engine.live.output import LiveSnapshot, OutputFrame
from engine.live.overlay import View
from engine.live.supervisor import Lanes
from engine.protocols import Avatar
from engine.stats import Stats
from lcvd.types import Lighting

__all__ = ["EngineHost", "LiveSnapshot", "LiveStream", "OutputFrame"]
log = logging.getLogger(__name__)

HANG_S = 10.0  # a call into the engine that takes longer will not return


class LiveStream:
    """One participant. `on_output()` is called, on any thread, whenever `next_output` may have something new."""

    def __init__(
        self,
        host: EngineHost,
        lighting: Lighting,
        on_output: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        avatar: Avatar | None = None,  # for engines that animate a portrait
        standby: EngineHost | None = None,  # the avatar engine that stands in for `host`, where that shows one too
        look: NDArray[np.uint8] | None = None,  # of the portrait, head and shoulders; None: all of it
        stall_s: float | None = None,  # None: the engine's own, or STALL_S
        hang_s: float = HANG_S,
        backoff_s: tuple[float, float] = BACKOFF_S,
    ) -> None:
        still = still_of(host.engine, avatar, look)
        self._clock = clock
        self._on_output = on_output
        self._mirror = False
        self._look = look
        self._lanes = Lanes(
            host, lighting, avatar, self._tell, clock, stall_s=stall_s, hang_s=hang_s, backoff_s=backoff_s
        )
        if host.engine.traits.shows_avatar:
            with self._lanes.lock:
                self._lanes.hide_camera(standby, still)

    # ---- frames

    @property
    def stats(self) -> Stats:
        """Stage times, rates and counters."""
        return self._lanes.stats

    def submit(self, rgb: NDArray[np.uint8], t_s: float) -> None:
        """Give one picture, uint8 [H,W,3], with its presentation time. FrameError when it is no picture."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
            raise FrameError(f"frame is {rgb.dtype}{list(rgb.shape)}", "send uint8 [H,W,3], H and W at least 1")
        now = self._clock()
        if self._mirror:
            rgb = np.asarray(cv2.flip(rgb, 1), np.uint8)
        lanes = self._lanes
        lanes.stats.frame_in()
        with lanes.lock:
            if lanes.closed:
                return
            put, waiting = lanes.arrived(lanes.arrivals.frame(rgb, t_s, now))
        lanes.replace_hung(waiting, now)
        if put:
            self._tell()

    def next_output(self, now_s: float) -> tuple[OutputFrame | None, float]:
        """The picture due at `now_s`, or None, and the seconds after which to ask again (or at `on_output`)."""
        lanes = self._lanes
        with lanes.lock:
            frame, wait_s = lanes.pacer.take(now_s)
            if frame is not None:
                if frame.showing != lanes.showing:
                    lanes.showing = frame.showing
                    lanes.stats.forget_latency()  # another engine has another delay, and the sound follows it
                if lanes.standby is not None and frame.relit:
                    lanes.standby.hold(frame.rgb, frame.showing)
        if frame is not None:
            lanes.stats.frame_out(now_s - frame.arrived_s)
        return frame, wait_s

    # ---- control

    @property
    def lighting(self) -> Lighting:
        """The light as it was last set."""
        return self._lanes.lighting

    def set_lighting(self, lighting: Lighting) -> None:
        """Glide to `lighting`, starting with the next prepared frame."""
        self._lanes.lighting = lighting

    @property
    def avatar(self) -> Avatar | None:
        """The portrait as it was last set."""
        return self._lanes.avatar

    def set_avatar(self, avatar: Avatar | None, look: NDArray[np.uint8] | None = None) -> None:
        """Another portrait, or other settings for it; engines that animate none go on undisturbed.

        `look` is what stands in for it: head and shoulders; None: all of it.
        """
        lanes = self._lanes
        engine, before = lanes.lane.host.engine, lanes.avatar
        same = avatar is not None and before is not None and avatar.portrait_rgb is before.portrait_rgb
        still = None if same else still_of(engine, avatar, look)  # outside the lock: it takes its time
        with lanes.lock:
            if lanes.closed or avatar is lanes.avatar:
                return
            lanes.avatar, self._look = avatar, look
            if engine is not lanes.lane.host.engine:
                engine = lanes.lane.host.engine
                still = still_of(engine, avatar, look)
            if not engine.traits.shows_avatar and engine.traits.output_size is None:
                return
            if lanes.standby is not None and not same:
                lanes.standby.set_portrait(still)
                lanes.standby.flush()
                if lanes.standby.health.state == "failed" and (lane := lanes.standby.leave()) is not None:
                    lanes.retire(lane)  # as below; the next frame opens another
            lanes.flush(standby_too=False)
            if not same:
                lanes.show_still()
                if lanes.health.state == "failed":  # for want of a face, as like as not: begin afresh, and now
                    lanes.promote(lanes.open(lanes.lane.host))
                    lanes.health.warming()
        self._tell()

    @property
    def hides_camera(self) -> bool:
        """An avatar is shown: the camera's picture does not go out."""
        return self._lanes.standby is not None

    def set_view(self, view: View) -> None:
        """Show the hint, the split, or neither."""
        self._lanes.view = view

    def set_mirror(self, on: bool) -> None:
        """Mirror the pictures that come from now on; those under way are thrown away."""
        with self._lanes.lock:
            if on != self._mirror:
                self._mirror = on
                self._lanes.flush()

    def set_paused(self, on: bool) -> None:
        """Paused, the picture goes on untouched; of an avatar the last one is held."""
        with self._lanes.lock:
            if on != self._lanes.paused:
                self._lanes.paused = on
                self._lanes.flush()

    def switch(self, host: EngineHost, standby: EngineHost | None = None) -> None:
        """Go over to another engine. The present one goes on until the other is ready.

        But not to an avatar: from now on the camera is not shown; `standby` is what stands in until it is ready.
        """
        lanes = self._lanes
        still = still_of(host.engine, lanes.avatar, self._look)
        with lanes.lock:
            if lanes.closed:
                return
            stale, lanes.next_lane = lanes.next_lane, None
            if stale is not None:
                lanes.retire(stale)
            if host is lanes.lane.host:
                return
            if host.engine.traits.shows_avatar:
                lanes.switch_to_avatar(host, standby, still)
            else:
                lanes.next_lane = lanes.open(host)
                if lanes.standby is None and lanes.health.state in ("warming", "failed"):  # nothing to go on with
                    lanes.promote(lanes.next_lane)
                    lanes.health.warming()
        self._tell()

    def snapshot(self) -> LiveSnapshot:
        """What the participant's page shows."""
        lanes = self._lanes
        stats = lanes.stats.snapshot()
        with lanes.lock:
            state: EngineState = "paused" if lanes.paused else lanes.health.state
            message = "" if lanes.paused else lanes.health.message
            name = lanes.lane.host.name
            seen = state == "ok"
            if lanes.standby is not None:
                if state == "ok" and lanes.showing != name:
                    state = "warming"  # it has opened, but no picture of it went out
                message = words(state, message, name, lanes.showing)
                seen = seen or (lanes.standby.lane is not None and lanes.standby.health.state == "ok")
            if lanes.next_lane is not None and not message:
                message = f"Getting {lanes.next_lane.host.name} ready."
            height, width = lanes.arrivals.shape[:2]
            return LiveSnapshot(
                fps_in=stats.fps_in,
                fps_out=stats.fps_out,
                drops=lanes.drops,
                width=width,
                height=height,
                latency_ms={"p50": stats.latency_ms["p50"], "p95": stats.latency_ms["p95"]},
                stages=stats.stages,
                face=lanes.coach.state if seen and not lanes.paused else "ok",
                engine={"name": name, "state": state, "message": message, "showing": lanes.showing},
            )

    def close(self) -> None:
        """Free everything. Waits for the host thread, 2 s at most: a hanging engine does not keep anyone."""
        self._lanes.close()

    def _tell(self) -> None:
        try:
            self._on_output()
        except Exception:  # the worker door: a reader's mistake must not stop the stream
            log.exception("on_output raised")
