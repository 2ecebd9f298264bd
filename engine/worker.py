"""The live stream of one participant: submit → mailbox → prepare | render → view → pacer → next_output.

One host thread a stream (`lane.py`), one device thread an engine (`host.py`); every method may be called from any
thread and none but `close` waits. Whatever the engine does, the picture goes on: while it warms up, fails, falls
behind or hangs, frames leave untouched (of an avatar's owner: what `standby.py` has, never the camera), and it comes
back by itself (`health.py`). No queue here is without a bound.
"""

import logging
import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.coaching import FaceCoach
from engine.errors import FrameError
from engine.frames import Frame, Work
from engine.health import BACKOFF_S, EngineState, Health
from engine.host import EngineHost, public_message
from engine.lane import Lane
from engine.output import LiveSnapshot, OutputFrame
from engine.pacer import Pacer
from engine.protocols import Avatar
from engine.standby import PORTRAIT, Standby, avatars_only, needs_portrait, stall_of, still_of, words
from engine.stats import Stats
from engine.view import View, compose
from lcvd.types import Lighting

__all__ = ["EngineHost", "LiveSnapshot", "LiveStream", "OutputFrame"]
log = logging.getLogger(__name__)

HANG_S = 10.0  # a call into the engine that takes longer will not return
JOIN_S = 2.0
CAMERA = "camera"  # what `showing` says of the untouched picture
NO_ANSWER = "The relighting engine does not answer; you are seen without the light."
NEXT_S = 1e-3  # between a picture and the one that replaces it at once
FRAME_S = 1 / 30  # what a source that jumps back in time is assumed to have skipped


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
        self.stats = Stats(clock)
        self._clock = clock
        self._on_output = on_output
        self._hang_s = hang_s
        self._lock = threading.Lock()
        self._lighting = lighting
        self._avatar, self._look = avatar, look
        self._stall_s = stall_s
        self._view = View()
        self._mirror = self._paused = self._closed = False
        self._index = 0
        self._fresh_from = 0  # results of earlier frames are stale: a mirror or pause came between
        self._shape: tuple[int, ...] = (0, 0, 3)
        self._shift_s = 0.0
        self._last_t_s = float("-inf")
        self._backoff_s = backoff_s
        self._health = Health(self._stall_of(host), backoff_s)
        self._standby: Standby | None = None  # of an avatar's owner; None: the camera may be shown
        self._showing = CAMERA
        self._pacer: Pacer[OutputFrame] = Pacer()
        self._coach = FaceCoach()
        self._logged = ""
        self._drops = 0  # of lanes that are gone
        self._retired: list[Lane] = []
        self._next_lane: Lane | None = None
        with self._lock:  # its thread may report before the assignment is done
            self._lane = Lane(self, host, clock)
            if needs_portrait(host.engine):
                self._hide_camera(standby, still_of(host.engine, avatar, look))

    # ---- frames

    def submit(self, rgb: NDArray[np.uint8], t_s: float) -> None:
        """Give one picture, uint8 [H,W,3], with its presentation time. FrameError when it is no picture."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
            raise FrameError(f"frame is {rgb.dtype}{list(rgb.shape)}", "send uint8 [H,W,3], H and W at least 1")
        now = self._clock()
        if self._mirror:
            rgb = np.asarray(cv2.flip(rgb, 1), np.uint8)
        self.stats.frame_in()
        with self._lock:
            if self._closed:
                return
            if t_s + self._shift_s <= self._last_t_s:  # the camera was changed: time goes on, for us
                self._shift_s = self._last_t_s + FRAME_S - t_s
            self._last_t_s = t_s + self._shift_s
            frame = Frame(self._index, self._last_t_s, rgb, now)
            self._index += 1
            self._shape = rgb.shape
            untouched = self._paused or self._health.arrived(now)
            feeds = not self._paused and self._health.feeds(frame.index)
            put = untouched
            if self._standby is not None:
                put = self._stand_in(self._standby, frame, untouched)
            elif untouched:
                self._pacer.put([OutputFrame(frame.index, frame.t_s, rgb, now, relit=False, showing=CAMERA)], now)
            lane, other = self._lane, self._standby.lane if self._standby is not None else None
        if feeds:
            lane.mailbox.put(frame)
        if untouched:
            for each in (lane, other):
                if each is not None and not self._paused and each.hung(now, self._hang_s):
                    self._replace(each)
        if put:
            self._tell()

    def next_output(self, now_s: float) -> tuple[OutputFrame | None, float]:
        """The picture due at `now_s`, or None, and the seconds after which to ask again (or at `on_output`)."""
        with self._lock:
            frame, wait_s = self._pacer.take(now_s)
            if frame is not None:
                if frame.showing != self._showing:
                    self._showing = frame.showing
                    self.stats.forget_latency()  # another engine has another delay, and the sound follows it
                if self._standby is not None and frame.relit:
                    self._standby.hold(frame.rgb, frame.showing)
        if frame is not None:
            self.stats.frame_out(now_s - frame.arrived_s)
        return frame, wait_s

    # ---- control

    @property
    def lighting(self) -> Lighting:
        """The light as it was last set."""
        return self._lighting

    def set_lighting(self, lighting: Lighting) -> None:
        """Glide to `lighting`, starting with the next prepared frame."""
        self._lighting = lighting

    @property
    def avatar(self) -> Avatar | None:
        """The portrait as it was last set."""
        return self._avatar

    def set_avatar(self, avatar: Avatar | None, look: NDArray[np.uint8] | None = None) -> None:
        """Another portrait, or other settings for it; engines that animate none go on undisturbed.

        `look` is what stands in for it: head and shoulders; None: all of it.
        """
        engine = self._lane.host.engine
        same = avatar is not None and self._avatar is not None and avatar.portrait_rgb is self._avatar.portrait_rgb
        still = None if same else still_of(engine, avatar, look)  # outside the lock: it takes its time
        with self._lock:
            if avatar is self._avatar:
                return
            self._avatar, self._look = avatar, look
            if engine is not self._lane.host.engine:
                engine = self._lane.host.engine
                still = still_of(engine, avatar, look)
            if not needs_portrait(engine) and getattr(engine, "output_size", None) is None:
                return
            if self._standby is not None and not same:
                self._standby.set_portrait(still)
                self._standby.flush()
                if self._standby.health.state == "failed" and (lane := self._standby.leave()) is not None:
                    self._retire(lane)  # as below; the next frame opens another
            self._flush(standby_too=False)
            if not same:
                self._show_still()
                if self._health.state == "failed":  # for want of a face, as like as not: begin afresh, and now
                    self._promote(Lane(self, self._lane.host, self._clock))
                    self._health.warming()
        self._tell()

    @property
    def hides_camera(self) -> bool:
        """An avatar is shown: the camera's picture does not go out."""
        return self._standby is not None

    def set_view(self, view: View) -> None:
        """Show the hint, the split, or neither."""
        self._view = view

    def set_mirror(self, on: bool) -> None:
        """Mirror the pictures that come from now on; those under way are thrown away."""
        with self._lock:
            if on != self._mirror:
                self._mirror = on
                self._flush()

    def set_paused(self, on: bool) -> None:
        """Paused, the picture goes on untouched."""
        with self._lock:
            if on != self._paused:
                self._paused = on
                self._flush()

    def switch(self, host: EngineHost, standby: EngineHost | None = None) -> None:
        """Go over to another engine. The present one goes on until the other is ready.

        But not to an avatar: from now on the camera is not shown; `standby` is what stands in until it is ready.
        """
        still = still_of(host.engine, self._avatar, self._look)
        with self._lock:
            if self._closed:
                return
            stale, self._next_lane = self._next_lane, None
            if stale is not None:
                self._retire(stale)
            if host is self._lane.host:
                return
            if needs_portrait(host.engine):
                self._switch_to_avatar(host, standby, still)
            else:
                self._next_lane = Lane(self, host, self._clock)
                if self._standby is None and self._health.state in ("warming", "failed"):  # nothing to go on with
                    self._promote(self._next_lane)
                    self._health.warming()
        self._tell()

    def snapshot(self) -> LiveSnapshot:
        """What the participant's page shows."""
        stats = self.stats.snapshot()
        with self._lock:
            state: EngineState = "paused" if self._paused else self._health.state
            message = "" if self._paused else self._health.message
            name, drops = self._lane.host.name, self._lane.mailbox.drops
            seen = state == "ok"
            if self._standby is not None:
                message = words(state, message, name, self._showing)
                if self._standby.lane is not None:
                    drops += self._standby.lane.mailbox.drops
                    seen = seen or self._standby.health.state == "ok"
            if self._next_lane is not None and not message:
                message = f"Getting {self._next_lane.host.name} ready."
            return LiveSnapshot(
                fps_in=stats.fps_in,
                fps_out=stats.fps_out,
                drops=self._drops + drops + self._pacer.drops,
                width=self._shape[1],
                height=self._shape[0],
                latency_ms={"p50": stats.latency_ms["p50"], "p95": stats.latency_ms["p95"]},
                stages=stats.stages,
                face=self._coach.state if seen and not self._paused else "ok",
                engine={"name": name, "state": state, "message": message, "showing": self._showing},
            )

    def close(self) -> None:
        """Free everything. Waits for the host thread, `JOIN_S` at most: a hanging engine does not keep anyone."""
        with self._lock:
            self._closed = True
            standby = self._standby.leave() if self._standby is not None else None
            lanes = [self._lane, *self._retired, *(lane for lane in (self._next_lane, standby) if lane is not None)]
            self._retired, self._next_lane = [], None
            self._pacer.flush()
        for lane in lanes:
            lane.stop()
        deadline = time.monotonic() + JOIN_S
        for lane in lanes:
            if not lane.join(max(0.0, deadline - time.monotonic())):
                lane.host.lost(lane.thread)
                log.warning("engine %s does not return; its thread is left behind", lane.host.name)

    # ---- what lanes tell (their own or the device thread)

    def lane_opened(self, lane: Lane) -> None:
        with self._lock:
            if lane is self._next_lane:
                self._promote(lane)
                self._health.warming()
            if lane is self._lane:
                self._health.opened(self._clock())
            elif (standby := self._stands_in(lane)) is not None:
                standby.health.opened(self._clock())

    def lane_result(self, lane: Lane, work: Work, frames: list[Frame]) -> None:
        now = self._clock()
        with self._lock:
            standing_in = self._stands_in(lane)
            if (lane is not self._lane and standing_in is None) or self._closed or self._paused:
                return
            if work.frames[-1].index < self._fresh_from:
                return  # mirrored or paused since
            health = self._health if standing_in is None else standing_in.health
            shown = health.result(now - work.frames[-1].arrived_s, now)
            if standing_in is not None:
                shown = shown and self._health.state != "ok"
            coaches = getattr(lane.host.engine, "tracks_faces", True)  # the null engine looks for no face
            if coaches and (shown or standing_in is None):
                for frame, face in zip(work.frames, work.faces, strict=True):
                    self._coach.update(face, frame.rgb.shape[:2], frame.t_s)
            view, hidden, portrait = self._view, self._standby is not None, self._still()
        if not shown:
            self.stats.count("superseded", len(frames))
            return
        with self.stats.stage("view"):
            outputs = []
            for i, (given, made) in enumerate(zip(work.frames, frames, strict=True)):
                if given.index < self._fresh_from:
                    continue
                if hidden and np.may_share_memory(given.rgb, made.rgb):
                    self.stats.count("withheld")  # an engine that lets the camera pass is no avatar
                    continue
                before = (made.rgb if portrait is None else portrait) if hidden else given.rgb
                rgb = self._picture(before, made, work, i, view)
                outputs.append(OutputFrame(given.index, given.t_s, rgb, given.arrived_s, True, lane.host.name))
        with self._lock:
            # A mirror, a pause or another engine may have come while the view was drawn: nothing is fresh any more.
            outputs = [output for output in outputs if output.index >= self._fresh_from]
            if self._closed or not outputs:
                return
            taken = self._pacer.put(outputs, self._clock())
        self.stats.count("superseded", len(outputs) - taken)
        self._tell()

    def lane_passed(self, lane: Lane, held: list[Frame]) -> None:
        """Show untouched what the engine held when the picture changed its size."""
        with self._lock:
            if lane is self._lane and not self._paused and self._standby is None:
                self._pass(held)
        self._tell()

    def lane_failed(self, lane: Lane, held: list[Frame], error: Exception) -> float:
        """Show what the lane held, untouched; returns the seconds until it may try again."""
        if (what := repr(error)) != self._logged:  # once with traceback; the same again is a line
            log.error("engine %s failed", lane.host.name, exc_info=error)
            self._logged = what
        else:
            log.info("engine %s failed again: %s", lane.host.name, what)
        with self._lock:
            if lane is self._next_lane:  # the new engine does not work: say so, and stay with it as asked
                self._promote(lane)
            elif (standby := self._stands_in(lane)) is not None:
                lane.mailbox.clear()
                return standby.health.failed(public_message(error))
            elif lane is not self._lane:
                return 0.0
            wait_s = self._health.failed(public_message(error))
            waiting = list(iter(lane.mailbox.pop, None))
            if self._standby is None:
                self._pass([*held, *waiting])
        self._tell()
        return wait_s

    # ---- inside

    def _picture(self, before: NDArray[np.uint8], made: Frame, work: Work, i: int, view: View) -> NDArray[np.uint8]:
        try:
            return compose(before, made.rgb, work.faces[i], work.lightings[i], view)
        except Exception as error:  # the worker door: an inset must not cost the picture
            if (what := repr(error)) != self._logged:
                log.error("the view cannot be drawn", exc_info=error)
                self._logged = what
            return made.rgb

    def _pass(self, frames: list[Frame]) -> None:
        """Frames that the engine had and did not give back; stale ones stay away."""
        fresh = [f for f in frames if f.index >= self._fresh_from]
        self._pacer.put([OutputFrame(f.index, f.t_s, f.rgb, f.arrived_s, False, CAMERA) for f in fresh], self._clock())

    def _flush(self, standby_too: bool = True) -> None:
        self._fresh_from = self._index
        self._pacer.flush()
        self._health.flushed()
        self._lane.reset()
        if self._standby is not None and standby_too:
            self._standby.flush()

    def _promote(self, lane: Lane) -> None:
        """`lane` takes over; the present one ends."""
        self._retire(self._lane)
        self._lane, self._next_lane = lane, None
        self._health.wait_at_most(self._stall_of(lane.host))
        if self._standby is not None and not needs_portrait(lane.host.engine):  # the camera by the person's own wish
            if (other := self._standby.leave()) is not None:
                self._retire(other)
            self._standby = None

    # ---- an avatar's owner is not shown by camera

    def _hide_camera(self, host: EngineHost | None, still: NDArray[np.uint8] | None) -> None:
        """From now on `host`, or a still, stands in; nothing of the camera that is under way goes out."""
        self._fresh_from = self._index
        self._pacer.flush()
        self._standby = Standby(self, host, self._clock, self._backoff_s)
        self._standby.set_portrait(still)
        self._showing = PORTRAIT

    def _switch_to_avatar(self, host: EngineHost, standby: EngineHost | None, still: NDArray[np.uint8] | None) -> None:
        present = self._standby
        if present is None:
            self._retire(self._lane)
            self._lane = Lane(self, host, self._clock)
            self._health = Health(self._stall_of(host), self._backoff_s)
            self._hide_camera(standby, still)
            self._show_still()
            return
        present.portrait = still
        lane, health = self._lane, self._health
        other = present.leave()
        if other is not None and other.host is host:  # what stands in is what was asked for
            self._lane, self._health, other = other, present.health, None
        else:
            self._lane, self._health = Lane(self, host, self._clock), Health(self._stall_of(host), self._backoff_s)
        present.host = avatars_only(standby)
        if lane.host is standby:
            present.adopt(lane, health)
        else:
            self._retire(lane)
        if other is not None:
            self._retire(other)

    def _stand_in(self, standby: Standby, frame: Frame, untouched: bool) -> bool:
        """`frame` came, and the camera is not shown. True: a still goes out, for nobody makes a picture of it."""
        now = frame.arrived_s
        still = self._paused or (untouched and standby.arrived(frame, now))
        if still:
            self._put_still(standby, frame.index, frame.t_s)
        elif standby.still_due:
            still = True
            self._put_still(standby, frame.index, frame.t_s - NEXT_S)  # just before: this one may become a picture yet
        if not untouched and (lane := standby.idle(now)) is not None:
            self._retire(lane)
        return still

    def _show_still(self) -> None:
        """What is shown last must not stay: whoever repeats it while no frame comes gets the still at once."""
        if self._standby is not None and self._index:
            self._last_t_s += NEXT_S
            self._put_still(self._standby, self._index, self._last_t_s)
            self._index += 1

    def _put_still(self, standby: Standby, index: int, t_s: float) -> None:
        standby.still_due = False
        if (picture := standby.picture) is not None:
            now = self._clock()
            self._pacer.put([OutputFrame(index, t_s, picture[0], now, False, picture[1])], now)

    def _still(self) -> NDArray[np.uint8] | None:
        return None if self._standby is None else self._standby.portrait

    def _stands_in(self, lane: Lane) -> Standby | None:
        """The standby, where `lane` is its own."""
        return self._standby if self._standby is not None and self._standby.lane is lane else None

    def _stall_of(self, host: EngineHost) -> float:
        return stall_of(host.engine) if self._stall_s is None else self._stall_s

    def _retire(self, lane: Lane) -> None:
        self._drops += lane.mailbox.drops
        lane.stop()
        self._retired = [old for old in self._retired if old.thread.is_alive()] + [lane]

    def _replace(self, lane: Lane) -> None:
        """The engine hangs: leave the thread that waits for it and go on with another."""
        with self._lock:
            standing_in = self._stands_in(lane)
            if (lane is not self._lane and standing_in is None) or self._closed:
                return
            log.error("engine %s has not answered for %.0f s", lane.host.name, self._hang_s)
            if standing_in is not None:
                standing_in.replace(standing_in.health.failed(NO_ANSWER))
                self._retire(lane)
            else:
                self._promote(Lane(self, lane.host, self._clock, self._health.failed(NO_ANSWER)))
        lane.host.abandon_render(lane)
        if lane.hung(self._clock(), self._hang_s):
            lane.host.lost(lane.thread)

    def _tell(self) -> None:
        try:
            self._on_output()
        except Exception:  # the worker door: a reader's mistake must not stop the stream
            log.exception("on_output raised")
