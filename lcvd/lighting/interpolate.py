"""Interpolation between two Lightings, for the transition of 250 ms that the engine makes after every change.

The caller gives the share u of the way, so there is no clock here.
"""

from dataclasses import replace
from itertools import permutations

import numpy as np

from lcvd.lighting.colour import luminance, rgb_tuple
from lcvd.lighting.directions import interpolate_direction, lerp
from lcvd.types import Background, DirectionalLight, Lighting


def background_terms(background: Background) -> tuple[float, float]:
    """(constant, lit): the background is multiplied by constant + lit · shade; keep is (1, 0), dim (gain, 0)."""
    if background.mode == "keep":
        return 1.0, 0.0
    if background.mode == "dim":
        return float(background.gain), 0.0
    return float(background.gain * (1 - background.mix)), float(background.gain * background.mix)


def interpolate(a: Lighting, b: Lighting, u: float) -> Lighting:
    """Return the light a share `u` of the way from a to b: a itself at u ≤ 0, b itself at u ≥ 1, continuous between.

    Directional lights are paired to move least; a pair moves along the great circle (by way of the camera if it would
    have to pass behind the head), the rest fade. At most max(len(a), len(b)) of them exist, so never more than four.
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
        sh = lerp(zero if a.sh is None else a.sh, zero if b.sh is None else b.sh, v).astype(np.float32)
    return Lighting(
        name=b.name,
        ambient_rgb=rgb_tuple(lerp(a.ambient_rgb, b.ambient_rgb, v)),
        directionals=_interpolate_directionals(a.directionals, b.directionals, v),
        sh=sh,
        specular=float(lerp(a.specular, b.specular, v)),
        strength=float(lerp(a.strength, b.strength, u)),
        background=_interpolate_background(a.background, b.background, v),
    )


def _interpolate_background(a: Background, b: Background, v: float) -> Background:
    """Interpolate the two terms of background_terms, then find the Background that has them."""
    if a == b or v >= 1:
        return b
    if v <= 0:
        return a
    constant, lit = lerp(background_terms(a), background_terms(b), v)
    if lit <= 0:
        return Background("dim", float(constant))
    return Background("lit", float(constant + lit), float(lit / (constant + lit)))


def _interpolate_directionals(
    a: tuple[DirectionalLight, ...], b: tuple[DirectionalLight, ...], v: float
) -> tuple[DirectionalLight, ...]:
    directionals = []
    for i, j in _pairs(a, b):
        start = a[i] if i is not None else replace(b[j], rgb=(0.0, 0.0, 0.0))  # type: ignore[index]
        end = b[j] if j is not None else replace(start, rgb=(0.0, 0.0, 0.0))
        directionals.append(
            DirectionalLight(
                interpolate_direction(start.direction, end.direction, v),
                rgb_tuple(lerp(start.rgb, end.rgb, v)),
                float(lerp(start.wrap, end.wrap, v)),
                float(lerp(start.shadow, end.shadow, v)),
            )
        )
    return tuple(directionals)


def _pairs(a: tuple[DirectionalLight, ...], b: tuple[DirectionalLight, ...]) -> list[tuple[int | None, int | None]]:
    """Pairs (index in a, index in b) of least total angle × brightness; None stands for a light that fades."""
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
