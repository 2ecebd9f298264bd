"""Everything a participant has asked for, as one frozen value; the engine and the connection may be behind it.

A message gives new settings and changes nothing else, so an error leaves what was there. The settings outlive
portraits, engines and connections. Knows no sockets.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engine.live.controls import Controls, EnginePair, Placeholder
from engine.live.overlay import View
from engine.protocols import Avatar
from lcvd.lighting.presets import preset
from lcvd.types import Background
from server.light_message import RequestedLight
from server.protocol import Mirror, Pause, SetBackground, SetLight, SetStrength, SetView
from server.session.avatar_settings import AvatarSettings

DEFAULT_PRESET = "original"


@dataclass(frozen=True, slots=True, eq=False)
class Requested:
    """The requested settings of one session. A session replaces them whole."""

    engine: str
    light: RequestedLight = field(default_factory=lambda: RequestedLight(preset(DEFAULT_PRESET).lighting))
    view: View = field(default_factory=View)
    mirror: bool = False
    paused: bool = False
    avatar_settings: AvatarSettings = field(default_factory=AvatarSettings)
    avatar: Avatar | None = None  # the portrait with `avatar_settings`; None before the first portrait
    placeholder: Placeholder | None = None  # of the portrait, shown until the avatar is ready

    def changed_by(self, message: SetLight | SetStrength | SetBackground | SetView | Mirror | Pause) -> "Requested":
        """Returns these settings as `message` asks for them. Raises LightError for a preset that does not exist."""
        match message:
            case SetLight():
                base = message.lighting.lighting() if message.lighting else preset(message.preset or "").lighting
                return replace(self, light=replace(self.light, base=base, adjust=message.adjust))
            case SetStrength():
                return replace(self, light=replace(self.light, strength=message.value))
            case SetBackground():
                background = None if message.mode == "auto" else Background(message.mode, message.gain)
                return replace(self, light=replace(self.light, background=background))
            case SetView():
                return replace(self, view=View(message.hint, message.split))
            case Mirror():
                return replace(self, mirror=message.on)
            case Pause():
                return replace(self, paused=message.on)

    def with_portrait(self, rgb: NDArray[np.uint8], crop: NDArray[np.uint8] | None) -> "Requested":
        """Returns these settings with another portrait [H,W,3]; `crop` of it is the placeholder (None: all of it)."""
        placeholder = Placeholder(rgb if crop is None else crop)
        return replace(self, avatar=self.avatar_settings.avatar_of(rgb), placeholder=placeholder)

    def controls(self, engine: EnginePair) -> Controls:
        """Returns the controls of a live stream that is about to begin on `engine`. Raises LightError."""
        return Controls(engine, self.light.lighting, self.view, self.mirror, self.paused, self.avatar, self.placeholder)

    def with_avatar_settings(self, settings: AvatarSettings) -> "Requested":
        """Returns these settings with others for the avatar, which keeps its portrait."""
        avatar = None if self.avatar is None else settings.avatar_of(self.avatar.portrait_rgb)
        return replace(self, avatar_settings=settings, avatar=avatar)
