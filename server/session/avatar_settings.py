"""What a participant wants of their avatar, and what it would cost: `set_avatar` and GET /api/avatar.

A wish is merged field by field: a quality names three at once, a single field changes itself alone, and what nobody
named is the engine's own value. It outlives portraits, engines and connections. Knows no sockets.
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
class AvatarWish:
    """None: the engine's own value."""

    steps: int | None = None
    omega: float | None = None
    stride: int | None = None
    mode: AvatarMode | None = None

    def merged(self, message: SetAvatar) -> "AvatarWish":
        """This wish, changed by what `message` names."""
        if message.quality is not None:
            stop = next(quality for quality in QUALITIES if quality.name == message.quality)
            return replace(_at(stop), mode=message.mode or self.mode)
        named = {name: getattr(message, name) for name in ("steps", "omega", "stride", "mode")}
        return replace(self, **{name: value for name, value in named.items() if value is not None})

    def of(self, portrait_rgb: NDArray[np.uint8]) -> Avatar:
        """The avatar of a portrait [H,W,3] as wished."""
        return Avatar(portrait_rgb, self.steps, self.omega, self.stride, self.mode)


class QualityBody(BaseModel):
    """One stop of the quality/latency slider."""

    name: str
    title: str
    steps: int = Field(description="Calls of the denoiser a window.")
    omega: float = Field(description="Weight of the guidance; 1 is none.")
    stride: int = Field(description="New frames a window.")
    predicted: Predicted | None = Field(description="null where nothing was measured yet.")


class AvatarBody(BaseModel):
    """What an avatar can be asked for here."""

    qualities: list[QualityBody]
    default: str = Field(description="The quality of a session that asked for none.")
    backend: str = Field(description='What the networks run on, or "".')


def quality_body(quality: QualityPreset, prediction: Prediction | None) -> QualityBody:
    """`quality` and what was predicted for it."""
    return QualityBody(
        name=quality.name,
        title=quality.title,
        steps=quality.steps,
        omega=quality.omega,
        stride=quality.stride,
        predicted=Predicted.of(prediction),
    )


def avatar_at(quality: QualityPreset, mode: AvatarMode | None = None) -> Avatar:
    """An avatar of nobody at `quality`, to ask for its cost; None: in the engine's own mode."""
    return replace(_at(quality), mode=mode).of(NO_PORTRAIT)


def _at(quality: QualityPreset) -> AvatarWish:
    return AvatarWish(quality.steps, quality.omega, quality.stride)
