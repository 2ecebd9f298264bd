"""Whoever shows an avatar is not shown by camera in its place: what goes out while the engine gives no picture.

First choice is another avatar engine (the CPU's), opened when it is needed and closed when the engine has been well for
a while; until that gives a picture, the last picture of an avatar is held, and before there was one the still portrait
stands in. Not thread-safe: the live stream that owns it holds the lock. Knows nothing of cameras' pixels but to pass
them to its own lane.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.fit import PORTRAIT_ANCHOR, cover
from engine.frames import Frame
from engine.live.device import EngineHost
from engine.live.health import STEADY_S, Health
from engine.live.lane import Lane, LaneOwner
from engine.live.output import OutputFrame
from engine.protocols import STALL_S, Avatar, Engine

Rgb = NDArray[np.uint8]
SLOWEST_S = 1.0  # without a picture before a still replaces the avatar, which may be slow and be better than that
PORTRAIT = "portrait"  # what `showing` says of the still


def avatars_only(host: EngineHost | None) -> EngineHost | None:
    """`host`, unless its engine would show the camera's picture."""
    return host if host is not None and host.engine.traits.shows_avatar else None


def stall_of(engine: Engine) -> float:
    """How long `engine` may take for a result before it is behind."""
    traits = engine.traits
    return max(traits.stall_s, SLOWEST_S) if traits.shows_avatar else traits.stall_s


def still_of(engine: Engine, avatar: Avatar | None, look: Rgb | None = None) -> Rgb | None:
    """The portrait, or `look`, what is to be shown of it, as it stands in for `engine`; None without a portrait.

    Up to 20 ms where it is not of the engine's size already.
    """
    if avatar is None or not engine.traits.shows_avatar:
        return None
    rgb = avatar.portrait_rgb if look is None else look
    return cover(rgb, engine.traits.output_size or (rgb.shape[0], rgb.shape[1]), PORTRAIT_ANCHOR)


class Standby:
    """What is shown of one avatar's owner in place of the camera, and the lane of the engine that stands in."""

    def __init__(
        self,
        owner: LaneOwner,
        host: EngineHost | None,  # None: only stills
        clock: Callable[[], float],
        backoff_s: tuple[float, float],
    ) -> None:
        self.host = avatars_only(host)
        self.lane: Lane | None = None
        self.portrait: Rgb | None = None
        self.still_due = False  # what was shown before may not stay
        self._owner = owner
        self._clock = clock
        self._backoff_s = backoff_s
        self._last: tuple[Rgb, str] | None = None
        self._idle_since: float | None = None
        self.health = self._fresh_health()

    # ---- pictures

    @property
    def picture(self) -> tuple[Rgb, str] | None:
        """What can be shown without any engine, and what `showing` says of it; None before there is a portrait."""
        if self._last is not None:
            return self._last
        return None if self.portrait is None else (self.portrait, PORTRAIT)

    def still(self, index: int, t_s: float, now_s: float) -> list[OutputFrame]:
        """`picture` in the place of frame `index`; nothing before there is a portrait."""
        self.still_due = False
        picture = self.picture
        return [] if picture is None else [OutputFrame(index, t_s, picture[0], now_s, False, picture[1])]

    def hold(self, rgb: Rgb, name: str) -> None:
        """Remember the picture that went out, made by engine `name`."""
        self._last = rgb, name

    def set_portrait(self, still: Rgb | None) -> None:
        """Another portrait: pictures of the one before are not shown again."""
        self.portrait = still
        self._last = None
        self.still_due = True

    # ---- the lane

    def arrived(self, frame: Frame, now_s: float) -> bool:
        """A frame came while the engine is not well. True: nor does this one, show `picture`."""
        self._idle_since = None
        if self.host is None:
            return True
        if self.lane is None:
            self.health = self._fresh_health()
            self.lane = Lane(self._owner, self.host, self._clock)
        still = self.health.arrived(now_s)
        if self.health.feeds(frame.index):
            self.lane.mailbox.put(frame)
        return still

    def idle(self, now_s: float) -> Lane | None:
        """A frame came and the engine is well. The lane to end, once that has lasted."""
        if self._idle_since is None:
            self._idle_since = now_s
            self.health.flushed()
        return self.leave() if now_s - self._idle_since > STEADY_S else None

    def leave(self) -> Lane | None:
        """Give the lane away: to be ended, or to go on as the engine itself."""
        lane, self.lane = self.lane, None
        return lane

    def relieve(self, host: EngineHost | None, lane: Lane, health: Health) -> bool:
        """From now on `host` stands in; with `lane` and `health`, what was the engine, where it is of that host: True.

        Give one's own lane away before.
        """
        self.host = avatars_only(host)
        if lane.host is not self.host:
            return False
        self.lane, self.health = lane, health
        return True

    def replace(self, wait_s: float) -> None:
        """The lane hangs: another one after `wait_s`."""
        assert self.host is not None
        self.lane = Lane(self._owner, self.host, self._clock, wait_s)

    def flush(self) -> None:
        """What is under way is stale."""
        self.health.flushed()
        if self.lane is not None:
            self.lane.reset()

    def _fresh_health(self) -> Health:
        return Health(STALL_S if self.host is None else stall_of(self.host.engine), self._backoff_s)


def words(state: str, message: str, name: str, showing: str) -> str:
    """`message` of an avatar's engine `name`, and what is seen meanwhile; never of being seen by camera."""
    if state == "paused":
        return "Paused: the picture is held, the camera is not shown."
    if state == "ok" and showing == name:
        return ""
    said = message or f"Getting {name} ready."
    # Host and lane speak of the light, which is what their other engines lack.
    said = said.split("; you are seen")[0].rstrip(".") + "."
    if showing == PORTRAIT:
        return f"{said} Your portrait stands in."
    if showing == name:
        return f"{said} The last picture is held."
    return f"{said} The simpler avatar ({showing}) is shown meanwhile."
