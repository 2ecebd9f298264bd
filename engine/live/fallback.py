"""The fallback decides what is shown while an avatar's engine renders nothing: never the camera.

The first choice is another avatar engine (the CPU's), opened when it is needed and closed once the main one has been
well for a while; until it renders, the last picture of an avatar is held, and before there was one the placeholder of
the portrait is shown. Sans-I/O, a part of `engine.live.state`.
"""

from engine.frames import Frame
from engine.live.actions import Action, Close, Feed, LaneRef, Open, Reset
from engine.live.controls import Device, Rgb
from engine.live.health import STEADY_S, Health
from engine.live.output import OutputFrame
from engine.protocols import STALL_S, EngineTraits

SLOWEST_S = 1.0  # a slow avatar is better than a still one: it has this long before a held picture replaces it
PORTRAIT = "portrait"  # `showing` while the placeholder is seen


def avatars_only(device: Device | None) -> Device | None:
    """`device`, or None where its engine would show the camera's picture."""
    return device if device is not None and device.traits.shows_avatar else None


def stall_of(traits: EngineTraits) -> float:
    """Seconds without a result after which an engine with `traits` is behind."""
    return max(traits.stall_s, SLOWEST_S) if traits.shows_avatar else traits.stall_s


class Fallback:
    """The pictures that replace one participant's avatar, and the lane of the fallback engine."""

    def __init__(
        self,
        device: Device | None,  # None: only held pictures and the placeholder
        backoff_s: tuple[float, float],
        actions: list[Action],  # of the state this is a part of
    ) -> None:
        self.device = avatars_only(device)
        self.lane: LaneRef | None = None
        self.placeholder: Rgb | None = None
        self.placeholder_due = False  # the picture that is seen now may not stay
        self._actions = actions
        self._backoff_s = backoff_s
        self._last: tuple[Rgb, str] | None = None
        self._idle_since: float | None = None
        self.health = self._fresh_health()

    # ---- pictures

    @property
    def picture(self) -> tuple[Rgb, str] | None:
        """The picture to show without any engine, and its `showing`; None before there is a portrait."""
        if self._last is not None:
            return self._last
        return None if self.placeholder is None else (self.placeholder, PORTRAIT)

    def held(self, index: int, t_s: float, now_s: float) -> list[OutputFrame]:
        """`picture` in the place of frame `index`; empty before there is a portrait."""
        self.placeholder_due = False
        picture = self.picture
        return [] if picture is None else [OutputFrame(index, t_s, picture[0], now_s, False, picture[1])]

    def hold(self, rgb: Rgb, name: str) -> None:
        """Remembers the picture that was sent, rendered by engine `name`."""
        self._last = rgb, name

    def set_placeholder(self, rgb: Rgb | None) -> None:
        """Takes another portrait's placeholder; pictures of the one before are not shown again."""
        self.placeholder = rgb
        self._last = None
        self.placeholder_due = True

    # ---- the lane

    def arrived(self, frame: Frame, now_s: float) -> bool:
        """Takes a frame that the main engine will not render. True: the fallback engine will not either."""
        self._idle_since = None
        if self.device is None:
            return True
        if self.lane is None:
            self.health = self._fresh_health()
            self.open()
        assert self.lane is not None
        held = self.health.arrived(now_s)
        if self.health.should_process(frame.index):
            self._actions.append(Feed(self.lane, frame))
        return held

    def idle(self, now_s: float) -> None:
        """Notes a frame that the main engine renders; the lane is closed once that has lasted."""
        if self._idle_since is None:
            self._idle_since = now_s
            self.health.flushed()
        if now_s - self._idle_since > STEADY_S:
            self.close()

    def open(self, wait_s: float = 0.0) -> None:
        """Opens a lane on the fallback engine, in place of any other."""
        assert self.device is not None
        self.lane = LaneRef(self.device)
        self._actions.append(Open(self.lane, wait_s))

    def close(self) -> None:
        """Closes the lane, if there is one."""
        if (lane := self.detach()) is not None:
            self._actions.append(Close(lane))

    def detach(self) -> LaneRef | None:
        """Gives the lane away, to be closed or to become the main one."""
        lane, self.lane = self.lane, None
        return lane

    def swap(self, device: Device | None, lane: LaneRef, health: Health) -> bool:
        """Makes `device` the fallback engine. True: `lane`, the main one so far, is on it and goes on as fallback."""
        self.device = avatars_only(device)
        if lane.device is not self.device:
            return False
        self.lane, self.health = lane, health
        return True

    def flush(self) -> None:
        """Forgets the frames under way."""
        self.health.flushed()
        if self.lane is not None:
            self._actions.append(Reset(self.lane))

    def _fresh_health(self) -> Health:
        return Health(STALL_S if self.device is None else stall_of(self.device.traits), self._backoff_s)


def status_message(state: str, message: str, name: str, showing: str) -> str:
    """`message` of an avatar's engine `name` with what is seen meanwhile; it never speaks of being seen by camera."""
    if state == "paused":
        return "Paused: the picture is held, the camera is not shown."
    if state == "ok" and showing == name:
        return ""
    said = message or f"Getting {name} ready."
    # Lane and device thread speak of the light, which is what their other engines lack.
    said = said.split("; you are seen")[0].rstrip(".") + "."
    if showing == PORTRAIT:
        return f"{said} Your portrait stands in."
    if showing == name:
        return f"{said} The last picture is held."
    return f"{said} The simpler avatar ({showing}) is shown meanwhile."
