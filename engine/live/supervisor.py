"""Which engine makes one participant's pictures: the lane that runs, the one to take over, and an avatar's standby.

The live stream (`worker.py`) asks under `lock`; lanes tell on their own or the device thread and take it themselves.
Order of locks: this one, then a host's or a mailbox's; a host that holds its own never calls back here. What is made
goes into the pacer, unless it is stale by then; the camera never goes there while an avatar is shown.
"""

import logging
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame, Work
from engine.live.device import EngineHost, public_message
from engine.live.face_advice import FaceCoach
from engine.live.fallback import PORTRAIT, Standby, stall_of
from engine.live.health import Health
from engine.live.lane import Lane
from engine.live.output import NEXT_S, Arrivals, OutputFrame
from engine.live.overlay import Drawing, View
from engine.live.pacer import Pacer
from engine.protocols import Avatar
from engine.stats import Stats
from lcvd.types import Lighting

log = logging.getLogger(__name__)

JOIN_S = 2.0
CAMERA = "camera"  # what `showing` says of the untouched picture
NO_ANSWER = "The engine does not answer; you are seen without the light."


class Lanes:
    """The lanes of one participant and what they make. What says "locked" is called with `lock` held."""

    def __init__(
        self,
        host: EngineHost,
        lighting: Lighting,
        avatar: Avatar | None,
        tell: Callable[[], None],  # something new is in the pacer, or in the state
        clock: Callable[[], float],
        *,
        stall_s: float | None,  # None: the engine's own
        hang_s: float,
        backoff_s: tuple[float, float],
    ) -> None:
        self.lock = threading.Lock()
        self.stats = Stats(clock)
        self.lighting, self.avatar = lighting, avatar
        self.view = View()
        self.paused = self.closed = False
        self.arrivals = Arrivals()
        self.pacer: Pacer[OutputFrame] = Pacer()
        self.coach = FaceCoach()
        self.standby: Standby | None = None  # of an avatar's owner; None: the camera may be shown
        self.showing = CAMERA
        self.next_lane: Lane | None = None
        self._tell = tell
        self._clock = clock
        self._stall_s, self._hang_s, self._backoff_s = stall_s, hang_s, backoff_s
        self._logged = ""
        self._drops = 0  # of lanes that are gone
        self._retired: list[Lane] = []
        self.health = self._fresh_health(host)
        with self.lock:  # its thread may report before the assignment is done
            self.lane = self.open(host)

    # ---- what the live stream asks for, locked

    def open(self, host: EngineHost, wait_s: float = 0.0) -> Lane:
        """A new lane on `host`; it looks for its place here once it has something to tell."""
        return Lane(self, host, self._clock, wait_s)

    def arrived(self, frame: Frame) -> tuple[bool, list[Lane]]:
        """A frame came: whether something went out at once, and the lanes that may hang (see `replace_hung`)."""
        now = frame.arrived_s
        untouched = self.paused or self.health.arrived(now)
        put = untouched
        if self.standby is not None:
            put = self._stand_in(self.standby, frame, untouched)
        elif untouched:
            self._pass([frame])
        if not self.paused and self.health.feeds(frame.index):
            self.lane.mailbox.put(frame)
        if self.paused or not untouched:
            return put, []
        other = self.standby.lane if self.standby is not None else None
        return put, [self.lane] if other is None else [self.lane, other]

    def flush(self, standby_too: bool = True) -> None:
        """What is under way is stale."""
        self.arrivals.all_stale()
        self.pacer.flush()
        self.health.flushed()
        self.lane.reset()
        if self.standby is not None and standby_too:
            self.standby.flush()

    def promote(self, lane: Lane) -> None:
        """`lane` takes over; the present one ends."""
        self.retire(self.lane)
        self.lane, self.next_lane = lane, None
        self.health.wait_at_most(self._stall_of(lane.host))
        if self.standby is not None and not lane.host.engine.traits.shows_avatar:  # the camera by the person's own wish
            if (other := self.standby.leave()) is not None:
                self.retire(other)
            self.standby = None

    def retire(self, lane: Lane) -> None:
        """`lane` ends as soon as its present call returns."""
        self._drops += lane.mailbox.drops
        lane.stop()
        self._retired = [old for old in self._retired if old.thread.is_alive()] + [lane]

    def hide_camera(self, host: EngineHost | None, still: NDArray[np.uint8] | None) -> None:
        """From now on `host`, or a still, stands in; nothing of the camera that is under way goes out."""
        self.arrivals.all_stale()
        self.pacer.flush()
        self.standby = Standby(self, host, self._clock, self._backoff_s)
        self.standby.set_portrait(still)
        self.showing = PORTRAIT

    def switch_to_avatar(self, host: EngineHost, standby: EngineHost | None, still: NDArray[np.uint8] | None) -> None:
        """`host` shows the avatar from now on, and the camera goes out no more."""
        if self.standby is None:
            self.retire(self.lane)
            self.lane, self.health = self.open(host), self._fresh_health(host)
            self.hide_camera(standby, still)
            self.show_still()
            return
        self.standby.portrait = still
        lane, health = self.lane, self.health
        other, other_health = self.standby.leave(), self.standby.health
        if other is not None and other.host is host:  # what stands in is what was asked for
            self.lane, self.health, other = other, other_health, None
        else:
            self.lane, self.health = self.open(host), self._fresh_health(host)
        if not self.standby.relieve(standby, lane, health):
            self.retire(lane)
        if other is not None:
            self.retire(other)

    def show_still(self) -> None:
        """What is shown last must not stay: whoever repeats it while no frame comes gets the still at once."""
        if self.standby is not None and self.arrivals.count:
            self._put_still(self.standby, *self.arrivals.insert())

    @property
    def drops(self) -> int:
        """Frames given up so far, here and in every lane there was."""
        other = self.standby.lane if self.standby is not None else None
        return (
            self._drops + self.pacer.drops + self.lane.mailbox.drops + (other.mailbox.drops if other is not None else 0)
        )

    # ---- what the live stream asks for, not locked

    def replace_hung(self, lanes: list[Lane], now_s: float) -> None:
        """Leave the threads that wait for an engine which will not answer, and go on with others."""
        for lane in lanes:
            if lane.hung(now_s, self._hang_s):
                self._replace(lane)

    def close(self) -> None:
        """Free everything; waits `JOIN_S` at most."""
        with self.lock:
            self.closed = True
            standby = self.standby.leave() if self.standby is not None else None
            lanes = [self.lane, *self._retired, *(lane for lane in (self.next_lane, standby) if lane is not None)]
            self._retired, self.next_lane = [], None
            self.pacer.flush()
        for lane in lanes:
            lane.stop()
        deadline = time.monotonic() + JOIN_S
        for lane in lanes:
            if not lane.join(max(0.0, deadline - time.monotonic())):
                lane.host.lost(lane.thread)
                log.warning("engine %s does not return; its thread is left behind", lane.host.name)

    # ---- what lanes tell (their own or the device thread)

    def lane_opened(self, lane: Lane) -> None:
        with self.lock:
            if lane is self.next_lane:
                self.promote(lane)
                self.health.warming()
            if lane is self.lane:
                self.health.opened(self._clock())
            elif (standby := self._stands_in(lane)) is not None:
                standby.health.opened(self._clock())

    def lane_result(self, lane: Lane, work: Work, frames: list[Frame]) -> None:
        now = self._clock()
        with self.lock:
            standing_in = self._stands_in(lane)
            if (lane is not self.lane and standing_in is None) or self.closed or self.paused:
                return
            if work.frames[-1].index < self.arrivals.fresh_from:
                return  # mirrored or paused since
            health = self.health if standing_in is None else standing_in.health
            shown = health.result(now - work.frames[-1].arrived_s, now)
            if standing_in is not None:
                shown = shown and self.health.state != "ok"
            coaches = lane.host.engine.traits.tracks_faces  # the null engine looks for no face
            if coaches and (shown or standing_in is None):
                for frame, face in zip(work.frames, work.faces, strict=True):
                    self.coach.update(face, frame.rgb.shape[:2], frame.t_s)
            portrait = None if self.standby is None else self.standby.portrait
            drawing = Drawing(self.view, self.standby is not None, portrait, self.arrivals.fresh_from)
        if not shown:
            self.stats.count("superseded", len(frames))
            return
        with self.stats.stage("view"):
            outputs = drawing.draw(work, frames, lane.host.name, self.stats)
        with self.lock:
            # A mirror, a pause or another engine may have come while the view was drawn: nothing is fresh any more.
            outputs = [output for output in outputs if output.index >= self.arrivals.fresh_from]
            if self.closed or not outputs:
                return
            taken = self.pacer.put(outputs, self._clock())
        self.stats.count("superseded", len(outputs) - taken)
        self._tell()

    def lane_passed(self, lane: Lane, held: list[Frame]) -> None:
        """Show untouched what the engine held when the picture changed its size."""
        with self.lock:
            if lane is self.lane and not self.paused and self.standby is None:
                self._pass(held)
        self._tell()

    def lane_failed(self, lane: Lane, held: list[Frame], error: Exception) -> float:
        """Show what the lane held, untouched; returns the seconds until it may try again."""
        if (what := repr(error)) != self._logged:  # once with traceback; the same again is a line
            log.error("engine %s failed", lane.host.name, exc_info=error)
            self._logged = what
        else:
            log.info("engine %s failed again: %s", lane.host.name, what)
        with self.lock:
            if lane is self.next_lane:  # the new engine does not work: say so, and stay with it as asked
                self.promote(lane)
            elif (standby := self._stands_in(lane)) is not None:
                lane.mailbox.clear()
                return standby.health.failed(public_message(error))
            elif lane is not self.lane:
                return 0.0
            wait_s = self.health.failed(public_message(error))
            waiting = list(iter(lane.mailbox.pop, None))
            if self.standby is None:
                self._pass([*held, *waiting])
        self._tell()
        return wait_s

    # ---- inside

    def _pass(self, frames: list[Frame]) -> None:
        """Frames that no engine gave back go out as they came; stale ones stay away."""
        fresh = [f for f in frames if f.index >= self.arrivals.fresh_from]
        self.pacer.put([OutputFrame(f.index, f.t_s, f.rgb, f.arrived_s, False, CAMERA) for f in fresh], self._clock())

    def _stand_in(self, standby: Standby, frame: Frame, untouched: bool) -> bool:
        """`frame` came, and the camera is not shown. True: a still goes out, for nobody makes a picture of it."""
        now = frame.arrived_s
        still = self.paused or (untouched and standby.arrived(frame, now))
        if still:
            self._put_still(standby, frame.index, frame.t_s)
        elif standby.still_due:
            still = True
            self._put_still(standby, frame.index, frame.t_s - NEXT_S)  # just before: this one may become a picture yet
        if not untouched and (lane := standby.idle(now)) is not None:
            self.retire(lane)
        return still

    def _put_still(self, standby: Standby, index: int, t_s: float) -> None:
        now = self._clock()
        self.pacer.put(standby.still(index, t_s, now), now)

    def _stands_in(self, lane: Lane) -> Standby | None:
        """The standby, where `lane` is its own."""
        return self.standby if self.standby is not None and self.standby.lane is lane else None

    def _stall_of(self, host: EngineHost) -> float:
        return stall_of(host.engine) if self._stall_s is None else self._stall_s

    def _fresh_health(self, host: EngineHost) -> Health:
        return Health(self._stall_of(host), self._backoff_s)

    def _replace(self, lane: Lane) -> None:
        """The engine hangs: leave the thread that waits for it and go on with another."""
        with self.lock:
            standing_in = self._stands_in(lane)
            if (lane is not self.lane and standing_in is None) or self.closed:
                return
            log.error("engine %s has not answered for %.0f s", lane.host.name, self._hang_s)
            if standing_in is not None:
                standing_in.replace(standing_in.health.failed(NO_ANSWER))
                self.retire(lane)
            else:
                self.promote(self.open(lane.host, self.health.failed(NO_ANSWER)))
        lane.host.abandon_render(lane)
        if lane.hung(self._clock(), self._hang_s):
            lane.host.lost(lane.thread)
