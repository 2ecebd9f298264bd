"""Lights as strangers write them ↔ `lcvd.types.Lighting`, and the light that a session requested.

Ranges are those of docs/protocol.md: linear RGB 0…8, wrap, shadow and specular 0…1, at most four directional lights.
The geometry (turning lights, colour temperature) is `lcvd.lighting.lighting`'s.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

from lcvd.types import MAX_DIRECTIONALS, Background, DirectionalLight, Lighting

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

MAX_CHANNEL = 8.0
# Ten times the brightest directional light: far beyond any sensible environment, far below overflow.
MAX_RADIANCE = 80.0

Unit = Annotated[FiniteFloat, Field(ge=0, le=1)]
Channel = Annotated[FiniteFloat, Field(ge=0, le=MAX_CHANNEL)]
Rgb = tuple[Channel, Channel, Channel]
Coordinate = Annotated[FiniteFloat, Field(ge=-1e6, le=1e6)]
Radiance = Annotated[FiniteFloat, Field(ge=-MAX_RADIANCE, le=MAX_RADIANCE)]


def _unit_vector(xyz: tuple[float, float, float]) -> tuple[float, float, float]:
    length = math.sqrt(sum(c * c for c in xyz))
    if length < 1e-6:
        raise ValueError("a direction needs a length; (0, 0, 1) comes from the viewer")
    return xyz[0] / length, xyz[1] / length, xyz[2] / length


Direction = Annotated[tuple[Coordinate, Coordinate, Coordinate], AfterValidator(_unit_vector)]


class Directional(BaseModel):
    """One directional light."""

    model_config = STRICT

    direction: Direction = Field(description="From the face to the light; normalised on arrival.")
    rgb: Rgb = (1.0, 1.0, 1.0)
    wrap: Unit = 0.2
    shadow: Unit = 0.0


class Light(BaseModel):
    """A full light, as docs/protocol.md writes it."""

    model_config = STRICT

    name: str = Field(default="custom", min_length=1, max_length=64)
    ambient_rgb: Rgb = (0.3, 0.3, 0.3)
    directionals: list[Directional] = Field(default_factory=list, max_length=MAX_DIRECTIONALS)
    sh: list[tuple[Radiance, Radiance, Radiance]] | None = Field(default=None, min_length=9, max_length=9)
    specular: Unit = 0.0

    def lighting(self) -> Lighting:
        """Returns the light as the engines take it."""
        return Lighting(
            name=self.name,
            ambient_rgb=self.ambient_rgb,
            directionals=tuple(
                DirectionalLight(each.direction, each.rgb, each.wrap, each.shadow) for each in self.directionals
            ),
            sh=None if self.sh is None else np.array(self.sh, np.float32),
            specular=self.specular,
        )

    @classmethod
    def of(cls, lighting: Lighting) -> "Light":
        """Returns `lighting` for the wire: valid, so that it can be sent back. Too bright is dimmed, hue kept."""
        return cls.model_construct(
            name=lighting.name,
            ambient_rgb=_channels(lighting.ambient_rgb),
            directionals=[
                Directional.model_construct(
                    direction=_floats(each.direction),
                    rgb=_channels(each.rgb),
                    wrap=float(each.wrap),
                    shadow=float(each.shadow),
                )
                for each in lighting.directionals
            ],
            sh=None
            if lighting.sh is None
            else [_floats(np.clip(row, -MAX_RADIANCE, MAX_RADIANCE)) for row in lighting.sh],
            specular=float(lighting.specular),
        )


class Adjust(BaseModel):
    """Re-aims a light without losing its character."""

    model_config = STRICT

    direction: Direction | None = Field(default=None, description="The key goes there, the other lights turn with it.")
    intensity: Annotated[FiniteFloat, Field(ge=0, le=3)] | None = None
    temperature_k: Annotated[FiniteFloat, Field(ge=2000, le=12000)] | None = None
    softness: Unit | None = None


@dataclass(frozen=True, slots=True)
class RequestedLight:
    """The light a session requested; its engine gets `lighting`. Strength and background outlive a new light."""

    base: Lighting
    adjust: Adjust | None = None
    strength: float = 1.0
    background: Background | None = None  # None: the light's own

    @property
    def lighting(self) -> Lighting:
        """Returns the base light, re-aimed, with the session's own strength and background. Raises LightError."""
        light = self.base if self.adjust is None else adjusted(self.base, self.adjust)
        return replace(light, strength=light.strength * self.strength, background=self.background or light.background)


def adjusted(light: Lighting, adjust: Adjust) -> Lighting:
    """Returns `light` re-aimed by `lcvd.lighting.lighting.adjust`. Raises LightError."""
    from lcvd.lighting import lighting as lcvd_lighting

    return lcvd_lighting.adjust(
        light,
        direction=adjust.direction,
        intensity=1.0 if adjust.intensity is None else adjust.intensity,
        temperature_k=adjust.temperature_k,
        softness=adjust.softness,
    )


def _channels(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    gain = min(1.0, MAX_CHANNEL / max(*rgb, 1e-9))
    return _floats([min(MAX_CHANNEL, max(0.0, gain * c)) for c in rgb])


def _floats(values: object) -> tuple[float, float, float]:
    x, y, z = (round(float(v), 5) for v in values)  # type: ignore[attr-defined]
    return x, y, z
