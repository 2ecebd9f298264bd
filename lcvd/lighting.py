"""Lighting helpers: how bright a surface is under a light, its SH projection, gliding, re-aiming, colour temperature.

Shade (irradiance/π) at unit normal n, linear RGB, 1 = normal exposure of a facing surface:
    shade(n) = max(0, ambient + Σ rgb_i · wrapped(n·d_i, wrap_i) + Σ (A_l/π) sh_lm Y_lm(n))
`wrapped(c, w)` is the clamped cosine blurred over [-w, w]: c above w, (c + w)²/4w between, 0 below -w. It is 1 on a
facing surface for every w and lies close to the exact irradiance of a disc of half-angle asin(w) (docs/lights.md), so
softness moves the terminator and leaves the exposure. Cast shadows are the engine's. Sees no pixels, knows no time.
"""

from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.errors import LightError, ShapeError
from lcvd.sh import LAMBERT, Y00, irradiance_over_pi, rotate_sh, sh_basis
from lcvd.types import MAX_DIRECTIONALS, Background, DirectionalLight, FloatArray, Lighting

LUMA = np.array([0.2126, 0.7152, 0.0722])  # linear Rec. 709 / sRGB
NEUTRAL_K = 6500.0
TEMPERATURE_RANGE_K = (1667.0, 25000.0)
MAX_RGB = 64.0  # far beyond any picture: what is larger is a mistake, not a light

Rgb = tuple[float, float, float]


class PackedLighting(NamedTuple):
    """A Lighting as plain float32 arrays, for kernels. Slots from `count` on are black."""

    ambient: FloatArray  # [3]
    directions: FloatArray  # [4,3] unit
    rgbs: FloatArray  # [4,3]
    wraps: FloatArray  # [4]
    shadows: FloatArray  # [4]
    count: int
    sh: FloatArray  # [9,3] radiance
    sh_irradiance: FloatArray  # [9,3] radiance times A_l/π: shade of the environment = sh_basis(n) @ this
    specular: float
    strength: float
    background_constant: float  # background is multiplied by constant + lit · (shade of the scene there)
    background_lit: float


def wrapped_cosine(cosine: ArrayLike, wrap: ArrayLike) -> NDArray[np.floating]:
    """Soft lamp's response: cosine [...], wrap in [0,1] -> [...] in [0,1]; 1 at cosine 1 whatever the wrap."""
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
    for lamp in lighting.directionals:
        response = wrapped_cosine(n @ np.asarray(lamp.direction, np.float32), lamp.wrap)
        out += response[..., None] * np.asarray(lamp.rgb, np.float32)
    if lighting.sh is not None:
        out += irradiance_over_pi(lighting.sh, n)
    return np.maximum(out, 0, out=out)


def pack(lighting: Lighting) -> PackedLighting:
    """The same light as arrays of fixed size."""
    lamps = lighting.directionals
    if len(lamps) > MAX_DIRECTIONALS:
        raise LightError(f"directionals: {len(lamps)} lamps", f"at most {MAX_DIRECTIONALS}")
    directions = np.tile(np.array([0, 0, 1], np.float32), (MAX_DIRECTIONALS, 1))
    rgbs = np.zeros((MAX_DIRECTIONALS, 3), np.float32)
    wraps = np.full(MAX_DIRECTIONALS, 0.2, np.float32)
    shadows = np.zeros(MAX_DIRECTIONALS, np.float32)
    for i, lamp in enumerate(lamps):
        directions[i], rgbs[i], wraps[i], shadows[i] = lamp.direction, lamp.rgb, lamp.wrap, lamp.shadow
    sh = np.zeros((9, 3), np.float32) if lighting.sh is None else np.asarray(lighting.sh, np.float32)
    constant, lit = background_terms(lighting.background)
    return PackedLighting(
        np.array(lighting.ambient_rgb, np.float32),
        directions,
        rgbs,
        wraps,
        shadows,
        len(lamps),
        sh,
        sh * LAMBERT[:, None],
        float(lighting.specular),
        float(lighting.strength),
        constant,
        lit,
    )


def background_terms(background: Background) -> tuple[float, float]:
    """(constant, lit): the background is multiplied by constant + lit · shade; keep is (1, 0), dim (gain, 0)."""
    if background.mode == "keep":
        return 1.0, 0.0
    if background.mode == "dim":
        return float(background.gain), 0.0
    return float(background.gain * (1 - background.mix)), float(background.gain * background.mix)


def sh_projection(lighting: Lighting) -> FloatArray:
    """Radiance [9,3] whose irradiance is the least-squares fit of `shading` over the sphere: what LCVD's hints use.

    Exact per lamp: the wrapped cosine is zonal, with 2π∫f P_l = π(1 + w²/3), 2π/3, 2π(1/8 - w²/12 + w⁴/40)
    for l = 0, 1, 2; the convolution theorem (Ramamoorthi & Hanrahan 2001, eq. 7) does the rest.
    """
    irradiance = np.zeros((9, 3))
    irradiance[0] += np.asarray(lighting.ambient_rgb) / Y00
    for lamp in lighting.directionals:
        w2 = lamp.wrap * lamp.wrap
        zonal = 2 * np.pi * np.array([0.5 + w2 / 6, 1 / 3, 0.125 - w2 / 12 + w2 * w2 / 40])
        per_coefficient = zonal[[0, 1, 1, 1, 2, 2, 2, 2, 2]] * sh_basis(np.asarray(lamp.direction, np.float64))
        irradiance += per_coefficient[:, None] * np.asarray(lamp.rgb)
    radiance = irradiance / LAMBERT[:, None]
    if lighting.sh is not None:
        radiance += lighting.sh
    return radiance.astype(np.float32)


def luminance(rgb: ArrayLike) -> float:
    """Relative luminance of one linear RGB [3]."""
    return float(np.asarray(rgb, np.float64) @ LUMA)


def key_of(lighting: Lighting) -> int | None:
    """Index of the key, the lamp of largest luminance; None without lamps."""
    if not lighting.directionals:
        return None
    return max(range(len(lighting.directionals)), key=lambda i: luminance(lighting.directionals[i].rgb))


def rotated(lighting: Lighting, rotation: ArrayLike) -> Lighting:
    """The light turned by `rotation` [3,3]: lamps and environment; ambient has no direction."""
    r = np.asarray(rotation, np.float64)
    if r.shape != (3, 3) or not np.allclose(r @ r.T, np.eye(3), atol=1e-4):
        raise ShapeError(f"rotation is an orthonormal [3,3], got shape {r.shape}")
    lamps = tuple(replace(lamp, direction=_unit(r @ np.asarray(lamp.direction))) for lamp in lighting.directionals)
    return replace(lighting, directionals=lamps, sh=None if lighting.sh is None else rotate_sh(lighting.sh, r))


def rotation_between(start: ArrayLike, end: ArrayLike) -> NDArray[np.float64]:
    """Shortest rotation [3,3] with R start = end (unit vectors); opposite vectors turn about the vertical."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    v, c = np.cross(a, b), float(a @ b)
    if c < -1 + 1e-9:
        # Any axis across `a` does; the vertical keeps the floor down, unless `a` itself is vertical.
        axis = np.cross(a, (1.0, 0, 0)) if abs(a[1]) > 0.9 else np.array([0.0, 1, 0]) - a[1] * a
        axis /= np.linalg.norm(axis)
        return 2 * np.outer(axis, axis) - np.eye(3)
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + k + k @ k / (1 + c)


def adjust(
    lighting: Lighting,
    direction: ArrayLike | None = None,
    intensity: float | None = None,
    temperature_k: float | None = None,
    softness: float | None = None,
) -> Lighting:
    """Re-aim a light without losing its character (docs/protocol.md).

    direction [3]: the key goes there (any length) and everything else turns with it; intensity [0,3] multiplies
    lamps, ambient and environment; temperature_k [2000,12000] tints them, 6500 leaves them alone; softness [0,1]
    becomes the key's wrap. A light without lamps first gets a key from its own ambient or environment.
    Raises LightError.
    """
    if direction is not None:
        target = _unit(_direction("adjust.direction", direction))
        lighting = _with_key(lighting)
        key = lighting.directionals[key_of(lighting) or 0]
        lighting = rotated(lighting, rotation_between(_unit(key.direction), target))
    if softness is not None:
        _in_range("adjust.softness", softness, 0, 1)
        lighting = _with_key(lighting)
        key_index = key_of(lighting)
        lamps = tuple(
            replace(lamp, wrap=float(softness)) if i == key_index else lamp
            for i, lamp in enumerate(lighting.directionals)
        )
        lighting = replace(lighting, directionals=lamps)
    gain = np.ones(3)
    if intensity is not None:
        gain = gain * _in_range("adjust.intensity", intensity, 0, 3)
    if temperature_k is not None:
        gain = gain * rgb_from_temperature_k(_in_range("adjust.temperature_k", temperature_k, 2000, 12000))
    if not np.array_equal(gain, np.ones(3)):
        lighting = scaled(lighting, gain)
    return lighting


def scaled(lighting: Lighting, gain: ArrayLike) -> Lighting:
    """Every source of the light times `gain`, one number or [3]."""
    g = np.broadcast_to(np.asarray(gain, np.float64), (3,))
    lamps = tuple(replace(lamp, rgb=_rgb(g * lamp.rgb)) for lamp in lighting.directionals)
    sh = None if lighting.sh is None else (lighting.sh * g).astype(np.float32)
    return replace(lighting, ambient_rgb=_rgb(g * lighting.ambient_rgb), directionals=lamps, sh=sh)


def _with_key(lighting: Lighting) -> Lighting:
    """The light itself, or one where 45 % of the ambient (or of the environment) became a soft key."""
    if lighting.directionals:
        return lighting
    if lighting.sh is None:
        lamp = DirectionalLight((0.0, 0.0, 1.0), _rgb(0.6 * np.asarray(lighting.ambient_rgb)), 0.5, 0.0)
        # 0.6 facing + 0.4 left = the same exposure on a facing surface as the ambient alone gave.
        return replace(lighting, ambient_rgb=_rgb(0.4 * np.asarray(lighting.ambient_rgb)), directionals=(lamp,))
    band1 = (np.asarray(lighting.sh, np.float64) @ LUMA)[[3, 1, 2]]
    peak = _unit(band1) if np.linalg.norm(band1) > 1e-6 else (0.0, 0.0, 1.0)
    rgb = 0.45 * np.maximum(irradiance_over_pi(lighting.sh, np.array(peak, np.float32)), 0)
    lamp = DirectionalLight(peak, _rgb(rgb), 0.5, 0.0)
    return replace(lighting, directionals=(lamp,), sh=(0.55 * lighting.sh).astype(np.float32))


def studio(
    azimuth_deg: float,
    elevation_deg: float,
    intensity: float = 1.0,
    temperature_k: float = NEUTRAL_K,
    softness: float = 0.3,
    ambient: float = 0.3,
) -> Lighting:
    """One lamp and a neutral ambient. Azimuth 0 is the camera, +90 the right of the picture; elevation +90 above.

    intensity and ambient are irradiance/π (1 = normal exposure); softness is the wrap. Raises LightError.
    """
    _in_range("studio.azimuth_deg", azimuth_deg, -360, 360)
    _in_range("studio.elevation_deg", elevation_deg, -90, 90)
    _in_range("studio.intensity", intensity, 0, 8)
    _in_range("studio.softness", softness, 0, 1)
    _in_range("studio.ambient", ambient, 0, 8)
    rgb = _rgb(intensity * rgb_from_temperature_k(temperature_k))
    lamp = DirectionalLight(direction_from_angles(azimuth_deg, elevation_deg), rgb, softness, 0.7 * (1 - softness))
    return Lighting("studio", (ambient, ambient, ambient), (lamp,))


def direction_from_angles(azimuth_deg: float, elevation_deg: float) -> tuple[float, float, float]:
    """Unit vector to a lamp: azimuth 0 camera, +90 right of the picture, ±180 behind; elevation +90 above."""
    az, el = np.radians(azimuth_deg), np.radians(elevation_deg)
    return _unit((np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el)))


def rgb_from_temperature_k(temperature_k: float) -> NDArray[np.float64]:
    """Linear RGB [3] of a Planckian radiator relative to 6500 K, luminance 1; 6500 K gives (1, 1, 1).

    Chromaticity from the cubic fit of Kim et al. (US patent 7024034 B2, 2006), good from 1667 to 25000 K, then
    XYZ → linear sRGB (IEC 61966-2-1), divided by 6500 K's and scaled back to luminance 1. Raises LightError.
    """
    _in_range("temperature_k", temperature_k, *TEMPERATURE_RANGE_K)
    ratio = np.maximum(_planckian_rgb(float(temperature_k)) / _planckian_rgb(NEUTRAL_K), 0)
    return ratio / (ratio @ LUMA)


_RGB_FROM_XYZ = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)


def _planckian_rgb(t: float) -> NDArray[np.float64]:
    k = 1000 / t
    if t <= 4000:
        x = ((-0.2661239 * k - 0.2343589) * k + 0.8776956) * k + 0.179910
    else:
        x = ((-3.0258469 * k + 2.1070379) * k + 0.2226347) * k + 0.240390
    if t <= 2222:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif t <= 4000:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    return _RGB_FROM_XYZ @ np.array([x / y, 1.0, (1 - x - y) / y])


def interpolate(a: Lighting, b: Lighting, u: float) -> Lighting:
    """The light a share `u` of the way from a to b: a itself at u ≤ 0, b itself at u ≥ 1, continuous between.

    Lamps are paired to move least; a pair travels along the great circle (by way of the camera if it would have to
    pass behind the head), the rest fade. At most max(len(a), len(b)) lamps exist, so never more than four.
    Sources are mixed weighted by strength, like colours by alpha: from `original` only the strength rises.
    """
    if u <= 0:
        return a
    if u >= 1:
        return b
    weight_a, weight_b = (1 - u) * a.strength, u * b.strength
    v = weight_b / (weight_a + weight_b) if weight_a + weight_b > 0 else u
    sh = None
    if a.sh is not None or b.sh is not None:
        zero = np.zeros((9, 3), np.float32)
        sh = _lerp(zero if a.sh is None else a.sh, zero if b.sh is None else b.sh, v).astype(np.float32)
    return Lighting(
        name=b.name,
        ambient_rgb=_rgb(_lerp(a.ambient_rgb, b.ambient_rgb, v)),
        directionals=_interpolate_lamps(a.directionals, b.directionals, v),
        sh=sh,
        specular=float(_lerp(a.specular, b.specular, v)),
        strength=float(_lerp(a.strength, b.strength, u)),
        background=_interpolate_background(a.background, b.background, v),
    )


def _interpolate_background(a: Background, b: Background, v: float) -> Background:
    """Mix what the two do to a pixel (see background_terms), then name it again."""
    if a == b or v >= 1:
        return b
    if v <= 0:
        return a
    constant, lit = _lerp(background_terms(a), background_terms(b), v)
    if lit <= 0:
        return Background("dim", float(constant))
    return Background("lit", float(constant + lit), float(lit / (constant + lit)))


def _interpolate_lamps(
    a: tuple[DirectionalLight, ...], b: tuple[DirectionalLight, ...], v: float
) -> tuple[DirectionalLight, ...]:
    lamps = []
    for i, j in _pairs(a, b):
        start = a[i] if i is not None else replace(b[j], rgb=(0.0, 0.0, 0.0))  # type: ignore[index]
        end = b[j] if j is not None else replace(start, rgb=(0.0, 0.0, 0.0))
        lamps.append(
            DirectionalLight(
                _travel(start.direction, end.direction, v),
                _rgb(_lerp(start.rgb, end.rgb, v)),
                float(_lerp(start.wrap, end.wrap, v)),
                float(_lerp(start.shadow, end.shadow, v)),
            )
        )
    return tuple(lamps)


def _pairs(a: tuple[DirectionalLight, ...], b: tuple[DirectionalLight, ...]) -> list[tuple[int | None, int | None]]:
    """Partners (index in a, index in b), None for nobody; every lamp once, least total travel × brightness."""
    if len(a) > len(b):
        return [(i, j) for j, i in _pairs(b, a)]
    best, best_cost = tuple(range(len(a))), np.inf
    for chosen in permutations(range(len(b)), len(a)):
        cost = sum(_move_cost(a[i], b[j]) for i, j in enumerate(chosen))
        if cost < best_cost:
            best, best_cost = chosen, cost
    paired: list[tuple[int | None, int | None]] = list(enumerate(best))
    return paired + [(None, j) for j in range(len(b)) if j not in best]


def _move_cost(a: DirectionalLight, b: DirectionalLight) -> float:
    angle = np.arccos(np.clip(np.dot(a.direction, b.direction), -1, 1))
    colour = np.abs(np.subtract(a.rgb, b.rgb)).sum() / 3
    return float(angle * min(luminance(a.rgb), luminance(b.rgb)) + 0.5 * colour)


_BY_WAY_OF = (0.0, 0.35, 1.0)  # a little above the camera


def _travel(start: Rgb, end: Rgb, v: float) -> Rgb:
    """Great circle at constant speed; nearly opposite lamps have none, so they pass over the camera."""
    if start == end:
        return end
    if np.dot(start, end) > -0.94:  # within 160°
        return _slerp(start, end, v)
    middle = _unit(_BY_WAY_OF)
    first = np.arccos(np.clip(np.dot(start, middle), -1, 1))
    second = np.arccos(np.clip(np.dot(middle, end), -1, 1))
    turn = first / (first + second)
    return _slerp(start, middle, v / turn) if v < turn else _slerp(middle, end, (v - turn) / (1 - turn))


def _slerp(start: Rgb, end: Rgb, v: float) -> Rgb:
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    angle = np.arccos(np.clip(a @ b, -1, 1))
    if angle < 1e-4:
        return _unit(_lerp(a, b, v))
    return _unit((np.sin((1 - v) * angle) * a + np.sin(v * angle) * b) / np.sin(angle))


def _lerp(a: ArrayLike, b: ArrayLike, v: float) -> NDArray[np.float64]:
    return np.asarray(a, np.float64) * (1 - v) + np.asarray(b, np.float64) * v


def _unit(vector: ArrayLike) -> Rgb:
    v = np.asarray(vector, np.float64)
    x, y, z = v / np.linalg.norm(v)
    return float(x), float(y), float(z)


def _rgb(values: ArrayLike) -> Rgb:
    r, g, b = np.asarray(values, np.float64)
    return float(r), float(g), float(b)


def _direction(field: str, vector: ArrayLike) -> NDArray[np.float64]:
    v = np.asarray(vector, np.float64)
    if v.shape != (3,) or not np.isfinite(v).all() or np.linalg.norm(v) < 1e-6:
        raise LightError(f"{field}: {np.asarray(vector).tolist()}", "three finite numbers, not all zero")
    return v


def _in_range(field: str, value: float, low: float, high: float) -> float:
    if not (np.isfinite(value) and low <= value <= high):
        raise LightError(f"{field}: {value}", f"a number from {low:g} to {high:g}")
    return float(value)
