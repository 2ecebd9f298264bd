"""StreamState decides what one participant is shown and which engine renders it, without lock, thread or clock.

Events come in, actions go out. The main lane renders; the next lane, where there is one, is about to take over; the
fallback's renders while an avatar's main engine cannot. Whatever an engine does, the picture goes on: while it warms
up, fails, falls behind or hangs, frames leave untouched. Never sends the camera while an avatar is shown: then
`engine.live.fallback` says what is. The owner takes `actions` after each event and performs them in order
(`engine.live.stream`).
"""

from collections.abc import Sequence

from engine.frames import Frame, Work
from engine.live.actions import Action, Clear, Close, Discard, Feed, LaneRef, Open, Reset, Show
from engine.live.controls import Controls, Device, EnginePair, Rgb
from engine.live.device import NO_ANSWER
from engine.live.face_advice import FaceAdvice, FaceState
from engine.live.fallback import PORTRAIT, Fallback, stall_of, status_message
from engine.live.health import BACKOFF_S, EngineState, Health
from engine.live.output import NEXT_S, Arrivals, OutputFrame
from engine.live.overlay import Overlay

CAMERA = "camera"  # `showing` while the untouched picture is seen


class StreamState:
    """The state of one participant's live stream. `actions` collects what is to be done, oldest first."""

    def __init__(
        self,
        controls: Controls,
        *,
        stall_s: float | None = None,  # None: the engine's own
        backoff_s: tuple[float, float] = BACKOFF_S,
    ) -> None:
        self.controls = controls
        self.actions: list[Action] = []
        self.arrivals = Arrivals()
        self.advice = FaceAdvice()
        self.fallback: Fallback | None = None  # of an avatar's owner; None: the camera may be shown
        self.showing = CAMERA
        self.closed = False
        self.next_lane: LaneRef | None = None
        self._stall_s, self._backoff_s = stall_s, backoff_s
        device = controls.engine.device
        self.lane, self.health = self._open(device), self._fresh_health(device)
        if device.traits.shows_avatar:
            self._hide_camera(controls.engine)

    # ---- events: what the participant does

    def apply(self, controls: Controls, now_s: float) -> None:
        """The participant asked for something else."""
        before, self.controls = self.controls, controls
        if self.closed:
            return
        if (controls.mirror, controls.paused) != (before.mirror, before.paused):
            self._flush()
        if controls.avatar is not before.avatar:
            self._change_avatar(before, now_s)
        if controls.engine.device is not before.engine.device:
            self._switch(controls.engine, now_s)

    def frame(self, rgb: Rgb, t_s: float, now_s: float) -> bool:
        """A picture [H,W,3] came, with its presentation time. True: no result came in time, so its engines may hang."""
        frame = self.arrivals.frame(rgb, t_s, now_s)
        paused = self.controls.paused
        untouched = paused or self.health.arrived(now_s)
        if self.fallback is not None:
            self._replace_camera(self.fallback, frame, untouched)
        elif untouched:
            self._show_untouched([frame])
        if not paused and self.health.should_process(frame.index):
            self.actions.append(Feed(self.lane, frame))
        return untouched and not paused

    def sent(self, frame: OutputFrame) -> bool:
        """`frame` was sent. True: another engine made it than the one before, and its delay is another."""
        changed, self.showing = frame.showing != self.showing, frame.showing
        if self.fallback is not None and frame.relit:
            self.fallback.hold(frame.rgb, frame.showing)
        return changed

    def close(self) -> None:
        """The participant left. Again: nothing happens."""
        if self.closed:
            return
        self.closed = True
        if self.fallback is not None:
            self.fallback.close()
        for lane in (self.next_lane, self.lane):
            if lane is not None:
                self.actions.append(Close(lane))
        self.next_lane = None
        self.actions.append(Clear())

    # ---- events: what lanes report

    def opened(self, lane: LaneRef, now_s: float) -> None:
        """The lane's stream is open."""
        if lane is self.next_lane:
            self._activate(lane)
            self.health.warming()
        if lane is self.lane:
            self.health.opened(now_s)
        elif (fallback := self._fallback_on(lane)) is not None:
            fallback.health.opened(now_s)

    def result(self, lane: LaneRef, work: Work, now_s: float) -> Overlay | None:
        """The lane rendered `work`. Returns how it is to be drawn for `drawn`; None: it is not to be shown."""
        fallback = self._fallback_on(lane)
        if (lane is not self.lane and fallback is None) or self.closed or self.controls.paused:
            return None
        if work.frames[-1].index < self.arrivals.fresh_from:
            return None  # mirrored or paused since
        health = self.health if fallback is None else fallback.health
        shown = health.result(now_s - work.frames[-1].arrived_s, now_s)
        if fallback is not None:
            shown = shown and self.health.state != "ok"
        if lane.device.traits.tracks_faces and (shown or fallback is None):
            for frame, face in zip(work.frames, work.faces, strict=True):
                self.advice.update(face, frame.rgb.shape[:2], frame.t_s)
        if not shown:
            self.actions.append(Discard(len(work.frames)))
            return None
        placeholder = None if self.fallback is None else self.fallback.placeholder
        return Overlay(self.controls.view, self.fallback is not None, placeholder, self.arrivals.fresh_from)

    def drawn(self, outputs: Sequence[OutputFrame]) -> None:
        """Results were drawn. A mirror, a pause or another engine may have made them stale meanwhile."""
        fresh = [output for output in outputs if output.index >= self.arrivals.fresh_from]
        if fresh and not self.closed:
            self.actions.append(Show(fresh))

    def passed(self, lane: LaneRef, held: Sequence[Frame]) -> None:
        """The lane gives back what its engine held when the picture changed its size."""
        if lane is self.lane and not self.controls.paused and self.fallback is None:
            self._show_untouched(held)

    def failed(self, lane: LaneRef, held: Sequence[Frame], message: str) -> float:
        """The lane's engine raised; `held` came back from it. Returns the seconds until it may be opened again."""
        if lane is self.next_lane:  # the new engine does not work: the participant is told, and it stays as asked
            self._activate(lane)
        elif (fallback := self._fallback_on(lane)) is not None:
            return fallback.health.failed(message)
        elif lane is not self.lane:
            return 0.0
        wait_s = self.health.failed(message)
        if self.fallback is None:
            self._show_untouched(held)
        return wait_s

    def hung(self, lane: LaneRef) -> bool:
        """A call of the lane into its engine does not return: another lane takes its place. False: it has none."""
        fallback = self._fallback_on(lane)
        if (lane is not self.lane and fallback is None) or self.closed:
            return False
        if fallback is not None:
            self.actions.append(Close(lane))
            fallback.open(fallback.health.failed(NO_ANSWER))
        else:
            self._activate(self._open(lane.device, self.health.failed(NO_ANSWER)))
        return True

    # ---- what can be asked

    @property
    def lanes(self) -> list[LaneRef]:
        """The lanes that frames are fed to."""
        other = None if self.fallback is None else self.fallback.lane
        return [self.lane] if other is None else [self.lane, other]

    @property
    def engine(self) -> dict[str, str]:
        """`engine` of the `stats` message: name, state, message and showing."""
        paused, name = self.controls.paused, self.lane.device.name
        state: EngineState = "paused" if paused else self.health.state
        message = "" if paused else self.health.message
        if self.fallback is not None:
            if state == "ok" and self.showing != name:
                state = "warming"  # it has opened, but no picture of it was sent
            message = status_message(state, message, name, self.showing)
        if self.next_lane is not None and not message:
            message = f"Getting {self.next_lane.device.name} ready."
        return {"name": name, "state": state, "message": message, "showing": self.showing}

    @property
    def face(self) -> FaceState:
        """`face` of the `stats` message: advice only while an engine sees the face."""
        fallback = self.fallback
        seen = self.health.state == "ok" or (
            fallback is not None and fallback.lane is not None and fallback.health.state == "ok"
        )
        return self.advice.state if seen and not self.controls.paused else "ok"

    # ---- inside: engines

    def _open(self, device: Device, wait_s: float = 0.0) -> LaneRef:
        lane = LaneRef(device)
        self.actions.append(Open(lane, wait_s))
        return lane

    def _activate(self, lane: LaneRef) -> None:
        """`lane` becomes the main one; the present one ends."""
        self.actions.append(Close(self.lane))
        self.lane = lane
        if lane is self.next_lane:  # another that is about to take over still does
            self.next_lane = None
        self.health.set_timeout(self._stall_of(lane.device))
        if self.fallback is not None and not lane.device.traits.shows_avatar:  # the camera by the person's own wish
            self.fallback.close()
            self.fallback = None

    def _switch(self, engine: EnginePair, now_s: float) -> None:
        """Goes over to another engine; the present one goes on until the other is ready, but not to an avatar."""
        if self.next_lane is not None:
            self.actions.append(Close(self.next_lane))
            self.next_lane = None
        if engine.device is self.lane.device:
            return
        if engine.device.traits.shows_avatar:
            self._switch_to_avatar(engine, now_s)
            return
        self.next_lane = self._open(engine.device)
        if self.fallback is None and self.health.state in ("warming", "failed"):  # nothing to go on with
            self._activate(self.next_lane)
            self.health.warming()

    def _switch_to_avatar(self, engine: EnginePair, now_s: float) -> None:
        """An avatar is shown from now on, and the camera no more."""
        device = engine.device
        if self.fallback is None:
            self.actions.append(Close(self.lane))
            self.lane, self.health = self._open(device), self._fresh_health(device)
            self._hide_camera(engine)
            self._show_placeholder(now_s)
            return
        self.fallback.placeholder = self._placeholder(device)
        lane, health = self.lane, self.health
        other, other_health = self.fallback.detach(), self.fallback.health
        if other is not None and other.device is device:  # the fallback engine is what is asked for now
            self.lane, self.health, other = other, other_health, None
        else:
            self.lane, self.health = self._open(device), self._fresh_health(device)
        if not self.fallback.swap(engine.fallback, lane, health):
            self.actions.append(Close(lane))
        if other is not None:
            self.actions.append(Close(other))

    def _change_avatar(self, before: Controls, now_s: float) -> None:
        """Another portrait, or other settings for it; engines that animate none go on undisturbed."""
        old, new = before.avatar, self.controls.avatar
        same = old is not None and new is not None and old.portrait_rgb is new.portrait_rgb
        traits = self.lane.device.traits
        if not traits.shows_avatar and traits.output_size is None:
            return
        if self.fallback is not None and not same:
            self.fallback.set_placeholder(self._placeholder(self.lane.device))
            self.fallback.flush()
            if self.fallback.health.state == "failed":
                self.fallback.close()  # as below; the next frame opens another
        self._flush(fallback_too=False)
        if not same:
            self._show_placeholder(now_s)
            if self.health.state == "failed":  # probably because the old portrait had no face: try the new one now
                self._activate(self._open(self.lane.device))
                self.health.warming()

    def _fallback_on(self, lane: LaneRef) -> Fallback | None:
        """The fallback, where `lane` is its own."""
        return self.fallback if self.fallback is not None and self.fallback.lane is lane else None

    def _stall_of(self, device: Device) -> float:
        return stall_of(device.traits) if self._stall_s is None else self._stall_s

    def _fresh_health(self, device: Device) -> Health:
        return Health(self._stall_of(device), self._backoff_s)

    # ---- inside: pictures

    def _flush(self, fallback_too: bool = True) -> None:
        """Everything under way is stale."""
        self.arrivals.all_stale()
        self.actions.append(Clear())
        self.health.flushed()
        self.actions.append(Reset(self.lane))
        if self.fallback is not None and fallback_too:
            self.fallback.flush()

    def _show_untouched(self, frames: Sequence[Frame]) -> None:
        """Frames that no engine gave back are shown as they came; stale ones are not."""
        fresh = [f for f in frames if f.index >= self.arrivals.fresh_from]
        if fresh:
            self.actions.append(Show([OutputFrame(f.index, f.t_s, f.rgb, f.arrived_s, False, CAMERA) for f in fresh]))

    def _hide_camera(self, engine: EnginePair) -> None:
        """From now on the fallback replaces the camera, and nothing of it that is under way is shown."""
        self.arrivals.all_stale()
        self.actions.append(Clear())
        self.fallback = Fallback(engine.fallback, self._backoff_s, self.actions)
        self.fallback.set_placeholder(self._placeholder(engine.device))
        self.showing = PORTRAIT

    def _replace_camera(self, fallback: Fallback, frame: Frame, untouched: bool) -> None:
        """`frame` came, and the camera is not shown: a held picture is, where no engine will render one in time."""
        now_s = frame.arrived_s
        if self.controls.paused or (untouched and fallback.arrived(frame, now_s)):
            self._show_held(fallback, frame.index, frame.t_s, now_s)
        elif fallback.placeholder_due:  # just before this frame, which may become a picture yet
            self._show_held(fallback, frame.index, frame.t_s - NEXT_S, now_s)
        if not untouched:
            fallback.idle(now_s)

    def _show_placeholder(self, now_s: float) -> None:
        """Replaces at once what was shown last: whoever repeats that while no frame comes must not go on with it."""
        if self.fallback is not None and self.arrivals.count:
            self._show_held(self.fallback, *self.arrivals.insert(), now_s)

    def _show_held(self, fallback: Fallback, index: int, t_s: float, now_s: float) -> None:
        if held := fallback.held(index, t_s, now_s):
            self.actions.append(Show(held))

    def _placeholder(self, device: Device) -> Rgb | None:
        placeholder, traits = self.controls.placeholder, device.traits
        return placeholder.fitted(traits) if placeholder is not None and traits.shows_avatar else None
