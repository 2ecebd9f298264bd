"""The light of a running camera, as keys and the control page change it: messages of docs/protocol.md → LiveStream."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.live.overlay import View
from engine.live.stream import LiveStream
from lcvd.lighting.presets import PRESETS, preset
from lcvd.types import Lighting
from server import VERSION, protocol
from server.errors import BadMessage, explain
from server.light_message import Light
from server.session.requested import Requested

BACKGROUNDS = ("auto", "keep", "dim", "lit")
BEFORE = View(split=1.0)  # all of the picture is left of the split: untouched, of an avatar the portrait
Change = protocol.SetLight | protocol.SetStrength | protocol.SetBackground | protocol.SetView | protocol.Mirror


@dataclass(frozen=True, slots=True)
class GalleryLight:
    """A light that can be chosen by name."""

    name: str
    title: str
    description: str
    lighting: Lighting


class CameraControl:
    """Holds what was asked for and applies it to the stream. Any thread; `listen` hears of every change."""

    def __init__(self, requested: Requested, own: Lighting | None = None) -> None:
        """Begins with `requested`; `own` is a light of the user's that is no preset, first in the gallery."""
        lights = [GalleryLight(each.name, each.title, each.description, each.lighting) for each in PRESETS]
        if own is not None:
            lights.insert(0, GalleryLight(own.name, "Your light", "The light the command was started with.", own))
        self.lights: Sequence[GalleryLight] = lights
        self._requested = requested
        self._live: LiveStream | None = None
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    @property
    def requested(self) -> Requested:
        return self._requested

    def attach(self, live: LiveStream) -> None:
        """Applies changes to `live` from now on."""
        self._live = live

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` after every change, on the thread that made it. Returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def apply(self, change: Change) -> None:
        """Carries out one message. Raises LightError, and nothing has changed then."""
        with self._lock:
            before = self._requested
            if isinstance(change, protocol.SetLight) and change.preset is not None:
                base = self._lighting(change.preset)  # also the user's own
                after = replace(before, light=replace(before.light, base=base, adjust=change.adjust))
            else:
                after = before.changed_by(change)
            lighting = after.light.lighting
            self._requested = after
            if (live := self._live) is not None:
                if after.light is before.light:
                    lighting = live.controls.lighting  # the very same: no transition begins
                live.apply(replace(live.controls, lighting=lighting, view=after.view, mirror=after.mirror))
        for listener in list(self._listeners):
            listener()

    def handle(self, text: str) -> protocol.ServerMessage:
        """Carries out one message of the control page and returns its answer. Never raises."""
        message = None
        try:
            message = protocol.parse(text)
            if not isinstance(message, Change):
                raise BadMessage(f"{message.type} has no meaning here", "relight serve has all of docs/protocol.md")
            self.apply(message)
        except Exception as error:  # the page's boundary
            about = message if message is not None else protocol.envelope(text)
            return protocol.ErrorReply.about(explain(error), id=about.id, of=about.type)
        ack = protocol.Ack(id=message.id, of=message.type)
        if message.type == "set_light":
            ack.lighting = Light.of(self._requested.light.lighting)
        return ack

    def state(self) -> dict[str, Any]:
        """Returns all choices as JSON: the message `state` of docs/camera.md."""
        now = self._requested
        background = now.light.background
        return {
            "type": "state",
            "version": VERSION,
            "light": now.light.base.name,
            "adjust": None if now.light.adjust is None else now.light.adjust.model_dump(exclude_none=True),
            "lighting": Light.of(now.light.lighting).model_dump(),
            "strength": now.light.strength,
            "background": "auto" if background is None else background.mode,
            "mirror": now.mirror,
            "before": now.view == BEFORE,
        }

    # ---- what a key does

    def choose(self, index: int) -> None:
        """Chooses the light at `index` of the gallery; beyond its end nothing happens."""
        if 0 <= index < len(self.lights):
            self.apply(protocol.SetLight(type="set_light", preset=self.lights[index].name))

    def step(self, by: int) -> None:
        """Chooses the light `by` places further, round the end."""
        names = [light.name for light in self.lights]
        name = self._requested.light.base.name
        self.choose((names.index(name) + by) % len(names) if name in names else 0)

    def strengthen(self, by: float) -> None:
        """Changes the strength, within 0 and 1."""
        value = min(1.0, max(0.0, round(self._requested.light.strength + by, 2)))
        self.apply(protocol.SetStrength(type="set_strength", value=value))

    def next_background(self) -> None:
        """Goes to the next mode of the background."""
        now = self.state()["background"]
        following = BACKGROUNDS[(BACKGROUNDS.index(now) + 1) % len(BACKGROUNDS)]
        self.apply(protocol.SetBackground(type="set_background", mode=following))  # type: ignore[arg-type]

    def toggle_mirror(self) -> None:
        """Turns the mirror on or off."""
        self.apply(protocol.Mirror(type="mirror", on=not self._requested.mirror))

    def toggle_before(self) -> None:
        """Shows the picture before or after relighting."""
        split = None if self._requested.view == BEFORE else BEFORE.split
        self.apply(protocol.SetView(type="set_view", split=split))

    def _lighting(self, name: str) -> Lighting:
        own = next((light.lighting for light in self.lights if light.name == name), None)
        return preset(name).lighting if own is None else own  # which raises with the names there are
