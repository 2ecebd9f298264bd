"""Operations on a Lighting: shade of a surface, packing for kernels, SH projection, rotation, adjustment, scaling.

Shade (irradiance/π) at unit normal n, linear RGB, 1 = normal exposure of a facing surface:
    shade(n) = max(0, ambient + Σ rgb_i · wrapped(n·d_i, wrap_i) + Σ (A_l/π) sh_lm Y_lm(n))
`wrapped(c, w)` is the clamped cosine blurred over [-w, w]: c above w, (c + w)²/4w between, 0 below -w. It is 1 on a
facing surface for every w and lies close to the exact irradiance of a disc of half-angle asin(w) (docs/lights.md), so
softness moves the terminator and leaves the exposure. Cast shadows are the engine's; pixels and time play no part.
"""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.errors import LightError, ShapeError
from lcvd.lighting.colour import LUMA, NEUTRAL_K, luminance, rgb_from_temperature_k, rgb_tuple
from lcvd.lighting.directions import direction_from_angles, rotation_between, unit
from lcvd.lighting.interpolate import background_terms, interpolate
from lcvd.lighting.sh import LAMBERT, Y00, irradiance_over_pi, rotate_sh, sh_basis
from lcvd.types import MAX_DIRECTIONALS, DirectionalLight, FloatArray, Lighting

__all__ = [
    "LUMA",
    "NEUTRAL_K",
    "PackedLighting",
    "adjust",
    "background_terms",
    "direction_from_angles",
    "interpolate",
    "key_index",
    "luminance",
    "pack",
    "rgb_from_temperature_k",
    "rotated",
    "rotation_between",
    "scaled",
    "sh_projection",
    "shading",
    "studio",
    "wrapped_cosine",
]

Rgb = tuple[float, float, float]


class PackedLighting(NamedTuple):
    """A Lighting as plain float32 arrays, for kernels. Slots from `count` on are black."""

    ambient: FloatArray  # [3]
    directions: FloatArray  # [4,3] unit
    rgbs: FloatArray  # [4,3]
    wraps: FloatArray  # [4]
    shadows: FloatArray  # [4]
    count: int  # type: ignore[assignment]  # shadows tuple.count, which no caller uses
    sh: FloatArray  # [9,3] radiance
    sh_irradiance: FloatArray  # [9,3] radiance times A_l/π: shade of the environment = sh_basis(n) @ this
    specular: float
    strength: float
    background_constant: float  # background is multiplied by constant + lit · (shade of the scene there)
    background_lit: float


def wrapped_cosine(cosine: ArrayLike, wrap: ArrayLike) -> NDArray[np.floating]:
    """Response of a soft light: cosine [...], wrap in [0,1] -> [...] in [0,1]; 1 at cosine 1 for any wrap."""
    c = np.asarray(cosine)
    w = np.maximum(np.asarray(wrap, dtype=c.dtype if c.dtype.kind == "f" else np.float64), 1e-6)
    return np.where(c >= w, c, np.square(np.maximum(c + w, 0)) / (4 * w))


def shading(lighting: Lighting, normals: ArrayLike) -> FloatArray:
    """Total linear shade without cast shadows: unit normals [...,3] -> float32 [...,3], at least 0."""
    n = np.asarray(normals, np.float32)
    if n.ndim < 1 or n.shape[-1] != 3:
        raise ShapeError(f"normals have shape [...,3], got {n.shape}", "the last axis is x, y, z")
    out = np.empty(n.shape, np.float32)
    out[...] = lighting.ambient_rgb
    for directional in lighting.directionals:
        response = wrapped_cosine(n @ np.asarray(directional.direction, np.float32), directional.wrap)
        out += response[..., None] * np.asarray(directional.rgb, np.float32)
    if lighting.sh is not None:
        out += irradiance_over_pi(lighting.sh, n)
    return np.maximum(out, 0, out=out)


@lru_cache(maxsize=64)  # the same for every frame while nobody changes the light
def pack(lighting: Lighting) -> PackedLighting:
    """Pack the light into arrays of fixed size."""
    directionals = lighting.directionals
    if len(directionals) > MAX_DIRECTIONALS:
        raise LightError(f"directionals: {len(directionals)} lights", f"at most {MAX_DIRECTIONALS}")
    directions = np.tile(np.array([0, 0, 1], np.float32), (MAX_DIRECTIONALS, 1))
    rgbs = np.zeros((MAX_DIRECTIONALS, 3), np.float32)
    wraps = np.full(MAX_DIRECTIONALS, 0.2, np.float32)
    shadows = np.zeros(MAX_DIRECTIONALS, np.float32)
    for i, directional in enumerate(directionals):
        directions[i], rgbs[i], wraps[i], shadows[i] = (
            directional.direction,
            directional.rgb,
            directional.wrap,
            directional.shadow,
        )
    sh = np.zeros((9, 3), np.float32) if lighting.sh is None else np.asarray(lighting.sh, np.float32)
    constant, lit = background_terms(lighting.background)
    return PackedLighting(
        np.array(lighting.ambient_rgb, np.float32),
        directions,
        rgbs,
        wraps,
        shadows,
        len(directionals),
        sh,
        sh * LAMBERT[:, None],
        float(lighting.specular),
        float(lighting.strength),
        constant,
        lit,
    )


def sh_projection(lighting: Lighting) -> FloatArray:
    """Radiance [9,3] whose irradiance is the least-squares fit of `shading` over the sphere: what LCVD's hints use.

    Exact for directional lights: the wrapped cosine is zonal, with
    2π∫f P_l = π(1 + w²/3), 2π/3, 2π(1/8 - w²/12 + w⁴/40) for l = 0, 1, 2; the rest follows from
    the convolution theorem (Ramamoorthi & Hanrahan 2001, eq. 7).
    """
    irradiance = np.zeros((9, 3))
    irradiance[0] += np.asarray(lighting.ambient_rgb) / Y00
    for directional in lighting.directionals:
        w2 = directional.wrap * directional.wrap
        zonal = 2 * np.pi * np.array([0.5 + w2 / 6, 1 / 3, 0.125 - w2 / 12 + w2 * w2 / 40])
        per_coefficient = zonal[[0, 1, 1, 1, 2, 2, 2, 2, 2]] * sh_basis(np.asarray(directional.direction, np.float64))
        irradiance += per_coefficient[:, None] * np.asarray(directional.rgb)
    radiance = irradiance / LAMBERT[:, None]
    if lighting.sh is not None:
        radiance += lighting.sh
    return radiance.astype(np.float32)


def key_index(lighting: Lighting) -> int | None:
    """Index of the key, the directional light of largest luminance; None where there is none."""
    if not lighting.directionals:
        return None
    return max(range(len(lighting.directionals)), key=lambda i: luminance(lighting.directionals[i].rgb))


def rotated(lighting: Lighting, rotation: ArrayLike) -> Lighting:
    """The light turned by `rotation` [3,3]: directional lights and environment; ambient has no direction."""
    r = np.asarray(rotation, np.float64)
    if r.shape != (3, 3) or not np.allclose(r @ r.T, np.eye(3), atol=1e-4):
        raise ShapeError(f"rotation is an orthonormal [3,3], got shape {r.shape}")
    directionals = tuple(
        replace(directional, direction=unit(r @ np.asarray(directional.direction)))
        for directional in lighting.directionals
    )
    return replace(lighting, directionals=directionals, sh=None if lighting.sh is None else rotate_sh(lighting.sh, r))


def adjust(
    lighting: Lighting,
    direction: ArrayLike | None = None,
    intensity: float | None = None,
    temperature_k: float | None = None,
    softness: float | None = None,
) -> Lighting:
    """Re-aim, scale, tint or soften a light as a whole (docs/protocol.md).

    direction [3]: the key goes there (any length) and everything else turns with it; intensity [0,3] multiplies
    directional lights, ambient and environment; temperature_k [2000,12000] tints them, 6500 leaves them alone;
    softness [0,1] becomes the key's wrap. A light without directional lights first gets a key from its own ambient or
    environment. Raises LightError.
    """
    if direction is not None:
        target = unit(_direction("adjust.direction", direction))
        lighting = _with_key(lighting)
        key = lighting.directionals[key_index(lighting) or 0]
        lighting = rotated(lighting, rotation_between(unit(key.direction), target))
    if softness is not None:
        _in_range("adjust.softness", softness, 0, 1)
        lighting = _with_key(lighting)
        index = key_index(lighting)
        directionals = tuple(
            replace(directional, wrap=float(softness)) if i == index else directional
            for i, directional in enumerate(lighting.directionals)
        )
        lighting = replace(lighting, directionals=directionals)
    gain = np.ones(3)
    if intensity is not None:
        gain = gain * _in_range("adjust.intensity", intensity, 0, 3)
    if temperature_k is not None:
        gain = gain * rgb_from_temperature_k(_in_range("adjust.temperature_k", temperature_k, 2000, 12000))
    if not np.array_equal(gain, np.ones(3)):
        lighting = scaled(lighting, gain)
    return lighting


def scaled(lighting: Lighting, gain: ArrayLike) -> Lighting:
    """Multiply every source of the light by `gain`, one number or [3]."""
    g = np.broadcast_to(np.asarray(gain, np.float64), (3,))
    directionals = tuple(
        replace(directional, rgb=rgb_tuple(g * directional.rgb)) for directional in lighting.directionals
    )
    sh = None if lighting.sh is None else (lighting.sh * g).astype(np.float32)
    return replace(lighting, ambient_rgb=rgb_tuple(g * lighting.ambient_rgb), directionals=directionals, sh=sh)


def _with_key(lighting: Lighting) -> Lighting:
    """The light itself, or one where 45 % of the ambient (or of the environment) became a soft key."""
    if lighting.directionals:
        return lighting
    if lighting.sh is None:
        directional = DirectionalLight((0.0, 0.0, 1.0), rgb_tuple(0.6 * np.asarray(lighting.ambient_rgb)), 0.5, 0.0)
        # 0.6 facing + 0.4 left = the same exposure on a facing surface as the ambient alone gave.
        return replace(
            lighting, ambient_rgb=rgb_tuple(0.4 * np.asarray(lighting.ambient_rgb)), directionals=(directional,)
        )
    band1 = (np.asarray(lighting.sh, np.float64) @ LUMA)[[3, 1, 2]]
    peak = unit(band1) if np.linalg.norm(band1) > 1e-6 else (0.0, 0.0, 1.0)
    rgb = 0.45 * np.maximum(irradiance_over_pi(lighting.sh, np.array(peak, np.float32)), 0)
    directional = DirectionalLight(peak, rgb_tuple(rgb), 0.5, 0.0)
    return replace(lighting, directionals=(directional,), sh=(0.55 * lighting.sh).astype(np.float32))


def studio(
    azimuth_deg: float,
    elevation_deg: float,
    intensity: float = 1.0,
    temperature_k: float = NEUTRAL_K,
    softness: float = 0.3,
    ambient: float = 0.3,
) -> Lighting:
    """One directional light and a neutral ambient. Azimuth 0 is the camera, +90 picture right; elevation +90 above.

    intensity and ambient are irradiance/π (1 = normal exposure); softness is the wrap. Raises LightError.
    """
    _in_range("studio.azimuth_deg", azimuth_deg, -360, 360)
    _in_range("studio.elevation_deg", elevation_deg, -90, 90)
    _in_range("studio.intensity", intensity, 0, 8)
    _in_range("studio.softness", softness, 0, 1)
    _in_range("studio.ambient", ambient, 0, 8)
    rgb = rgb_tuple(intensity * rgb_from_temperature_k(temperature_k))
    directional = DirectionalLight(
        direction_from_angles(azimuth_deg, elevation_deg), rgb, softness, 0.7 * (1 - softness)
    )
    return Lighting("studio", (ambient, ambient, ambient), (directional,))


def _direction(field: str, vector: ArrayLike) -> NDArray[np.float64]:
    v = np.asarray(vector, np.float64)
    if v.shape != (3,) or not np.isfinite(v).all() or np.linalg.norm(v) < 1e-6:
        raise LightError(f"{field}: {np.asarray(vector).tolist()}", "three finite numbers, not all zero")
    return v


def _in_range(field: str, value: float, low: float, high: float) -> float:
    if not (np.isfinite(value) and low <= value <= high):
        raise LightError(f"{field}: {value}", f"a number from {low:g} to {high:g}")
    return float(value)
