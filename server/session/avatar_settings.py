"""The settings a participant requests for their avatar, and their predicted cost: `set_avatar` and GET /api/avatar.

They are merged field by field: a quality names three at once, a single field changes itself alone, and what nobody
named is the engine's own value. They outlive portraits, engines and connections. Knows no sockets.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from engine.diffusion.latency import QUALITIES, QualityPreset
from engine.protocols import Avatar, Prediction
from server.protocol import AvatarMode, Predicted, SetAvatar

DEFAULT_FPS = 25.0  # of a camera that has not been measured yet
NO_PORTRAIT = np.zeros((1, 1, 3), np.uint8)  # the cost of a window does not depend on whom it shows


@dataclass(frozen=True, slots=True)
class AvatarSettings:
    """The requested settings of an avatar. None: the engine's own value."""

    steps: int | None = None
    omega: float | None = None
    stride: int | None = None
    mode: AvatarMode | None = None

    def merged(self, message: SetAvatar) -> "AvatarSettings":
        """Returns these settings, changed by what `message` names."""
        if message.quality is not None:
            preset = next(quality for quality in QUALITIES if quality.name == message.quality)
            return replace(_at(preset), mode=message.mode or self.mode)
        named = {name: getattr(message, name) for name in ("steps", "omega", "stride", "mode")}
        return replace(self, **{name: value for name, value in named.items() if value is not None})

    def avatar_of(self, portrait_rgb: NDArray[np.uint8]) -> Avatar:
        """Returns the avatar of a portrait [H,W,3] with these settings."""
        return Avatar(portrait_rgb, self.steps, self.omega, self.stride, self.mode)


class QualityBody(BaseModel):
    """One quality preset: a point between the smallest delay and the finest picture."""

    name: str
    title: str
    steps: int = Field(description="Calls of the denoiser a window.")
    omega: float = Field(description="Weight of the guidance; 1 is none.")
    stride: int = Field(description="New frames a window.")
    predicted: Predicted | None = Field(description="null where nothing was measured yet.")


class AvatarBody(BaseModel):
    """The quality presets of the avatar on this server."""

    qualities: list[QualityBody]
    default: str = Field(description="The quality of a session that asked for none.")
    backend: str = Field(description='What the networks run on, or "".')
    staggered: bool = Field(default=False, description="The weights were trained for mode staggered.")
    least_steps: int = Field(default=1, description="The weights are made for so many steps: fewer blur the picture.")


def quality_body(quality: QualityPreset, prediction: Prediction | None) -> QualityBody:
    """Returns the body of `quality` with what was predicted for it."""
    return QualityBody(
        name=quality.name,
        title=quality.title,
        steps=quality.steps,
        omega=quality.omega,
        stride=quality.stride,
        predicted=Predicted.of(prediction),
    )


def avatar_at(quality: QualityPreset, mode: AvatarMode | None = None) -> Avatar:
    """Returns an avatar of nobody at `quality`, to ask for its cost; mode None: the engine's own."""
    return replace(_at(quality), mode=mode).avatar_of(NO_PORTRAIT)


def _at(quality: QualityPreset) -> AvatarSettings:
    return AvatarSettings(quality.steps, quality.omega, quality.stride)
