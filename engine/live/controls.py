"""Controls: everything a participant has asked for of their live stream, in one frozen value that is replaced whole."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.fit import PORTRAIT_ANCHOR, cover
from engine.live.overlay import View
from engine.protocols import Avatar, EngineTraits
from lcvd.types import Lighting

Rgb = NDArray[np.uint8]


class Device(Protocol):
    """An engine and the thread it renders on, as the live state sees them: by name, traits and identity."""

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> EngineTraits: ...


@dataclass(frozen=True, slots=True, eq=False)
class EnginePair:
    """The engine that is asked for, and the avatar engine that renders while that one cannot."""

    device: Device
    fallback: Device | None = None  # None: only placeholders are shown then


class Placeholder:
    """A still picture of an avatar's portrait, for the time before an avatar engine has rendered one."""

    def __init__(self, rgb: Rgb) -> None:
        self.rgb = rgb  # [H,W,3]: the portrait, or its head and shoulders
        self._fitted: dict[tuple[int, int], Rgb] = {}

    def fitted(self, traits: EngineTraits) -> Rgb:
        """The picture at the size of an engine's output [h,w,3]; the first call of a size takes up to 20 ms."""
        size = traits.output_size or (self.rgb.shape[0], self.rgb.shape[1])
        if size not in self._fitted:
            self._fitted[size] = cover(self.rgb, size, PORTRAIT_ANCHOR)
        return self._fitted[size]


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """Holds all that a participant asked for. `dataclasses.replace` makes another; `LiveStream.apply` takes it."""

    engine: EnginePair
    lighting: Lighting
    view: View = field(default_factory=View)
    mirror: bool = False
    paused: bool = False
    avatar: Avatar | None = None  # for engines that animate a portrait
    placeholder: Placeholder | None = None  # of the avatar's portrait
