"""add_hair covers the skull: a cap that stands off it, locks that hang from it, a beard, or a cloth over all.

The hairline is a field over the kit's mean head. Locks are ribbons that leave the scalp along a combed direction, fall
and slide over an ellipsoid around the head, so every head of hair has another silhouette.
"""

from functools import lru_cache

import numpy as np

from lcvd.face.geometry import vertex_normals
from lcvd.types import FloatArray
from training.heads.hair import Hair
from training.heads.noise import ramp
from training.heads.scanned.facekit import SOCKETS, FaceKit
from training.heads.scanned.noise3 import noise3
from training.heads.scanned.paint import places
from training.heads.scanned.parts import Part, Parts, grid_triangles

# The hairline from the side: hair grows behind z at height y (cm, mean head), from the crown to the nape.
LINE_Y = (-10.0, -8.0, -5.0, -2.0, 0.5, 2.5, 4.0, 6.0, 8.0, 10.0, 11.2, 12.2, 14.6)
LINE_Z = (-60.0, -8.0, -5.5, -4.0, -2.6, -0.6, 1.6, 2.4, 3.2, 4.6, 7.0, 8.4, 8.6)
SKULL_CENTRE, SKULL_RADII = np.array([0.0, 5.5, -0.5]), np.array([8.0, 9.0, 9.3])
STEPS = 14  # of a lock
CLOTHS = np.array([(0.6, 0.6, 0.62), (0.03, 0.03, 0.035), (0.35, 0.05, 0.06), (0.05, 0.09, 0.25), (0.5, 0.35, 0.2)])


@lru_cache(4)
def _growing(kit: FaceKit) -> FloatArray:
    """Returns [V]: how far inside the hairline a vertex lies, cm; < 0 outside it, and on ears and what is not skin."""
    at = kit.neutral
    inside = np.interp(at[:, 1], LINE_Y, LINE_Z) - at[:, 2]
    ear = (np.abs(at[:, 0]) > 7.35) & (at[:, 2] > -3.6) & (at[:, 2] < 2.5) & (at[:, 1] > -1.6) & (at[:, 1] < 6.6)
    inside[ear] = -1
    inside[SOCKETS.start :] = -9
    return inside.astype(np.float32)


def add_hair(rng: np.random.Generator, parts: Parts, kit: FaceKit, head: FloatArray, hair: Hair) -> None:
    """Adds the hair of `head` [V,3] to the parts."""
    normals = vertex_normals(head, kit.triangles)
    if rng.random() < 0.09:
        _cover(rng, parts, kit, head, normals)
    elif not hair.bald:
        inside = _growing(kit) - hair.recede_cm * ramp(kit.neutral[:, 2], 3.0, 7.0)
        inside += 0.35 * noise3(kit.neutral, 1.5, int(rng.integers(1 << 30)))
        _cap(rng, parts, kit, head, normals, inside, hair)
        if hair.hood_cm > 0 or (hair.length_cm > 0.8 and rng.random() < 0.6):
            _locks(rng, parts, kit, head, normals, inside, hair)
    if hair.beard > 0.5 and rng.random() < 0.6:
        _beard(rng, parts, kit, head, normals, hair)


def _shell(
    parts: Parts, kit: FaceKit, points: FloatArray, keep: np.ndarray, colour: FloatArray, part: Part, gloss: float
) -> None:
    """Adds the kit's triangles whose vertices are all in `keep` [V], at `points` [V,3]."""
    triangles = kit.triangles[keep[kit.triangles].all(1)]
    used = np.unique(triangles)
    place = np.zeros(len(points), np.int32)
    place[used] = np.arange(len(used))
    below = ramp(kit.neutral[used, 1], -6.0, -12.0)
    parts.add(points[used], place[triangles], colour[used], part, gloss=gloss, source=used, body=below)


def _coloured(rng: np.random.Generator, points: FloatArray, colour: FloatArray, grain: tuple[float, ...]) -> FloatArray:
    seed = int(rng.integers(1 << 30))
    light = 1 + 0.35 * noise3(points, np.array(grain), seed) + 0.25 * noise3(points, 2.5, seed + 1)
    return np.clip(light, 0.2, 2)[:, None] * colour


def _cap(
    rng: np.random.Generator, parts: Parts, kit: FaceKit, head: FloatArray, normals: FloatArray, inside: FloatArray,
    hair: Hair,
) -> None:  # fmt: skip
    at, seed = kit.neutral, int(rng.integers(1 << 30))
    top = ramp(at[:, 1], 7.0, 13.0)
    thick = 0.1 + hair.length_cm * (0.45 + 0.25 * rng.random()) + hair.lift_cm * top
    thick *= ramp(inside, -0.2, rng.uniform(0.6, 2.2))
    waves = noise3(at, rng.uniform(1.5, 4.0), seed) + 0.5 * noise3(at, np.array([0.8, 3.0, 3.0]), seed + 1)
    curls = hair.curl * noise3(at, 0.9, seed + 2)
    thick *= 1 + 0.3 * waves + 0.4 * curls
    points = head + (0.04 + np.maximum(thick, 0))[:, None] * normals
    colour = _coloured(rng, at, hair.colour, (0.35, 1.6, 1.6))
    _shell(parts, kit, points, inside > -0.15, colour, Part.HAIR, float(rng.uniform(0.02, 0.12)))


def _cover(rng: np.random.Generator, parts: Parts, kit: FaceKit, head: FloatArray, normals: FloatArray) -> None:
    """Adds a head scarf or a woollen hat."""
    at, seed = kit.neutral, int(rng.integers(1 << 30))
    scarf = rng.random() < 0.5
    inside = np.interp(at[:, 1], LINE_Y, LINE_Z) - at[:, 2]
    if scarf:  # covers ears, neck and what is under the chin
        oval = ((at[:, 0] / 6.6) ** 2 + ((at[:, 1] - 2.0) / 9.4) ** 2 < 1) & (at[:, 2] > 1.5)
        inside = np.where(oval, -1.0, 1.0)
    else:
        inside = np.where(at[:, 1] > rng.uniform(7.0, 9.5) + 0.12 * (at[:, 2] - 5), inside + 6, -1.0)
    inside[SOCKETS.start :] = -9
    thick = 0.35 * noise3(at, 2.5, seed) + 0.15 * noise3(at, (0.9, 2.5, 0.9), seed + 1) + float(rng.uniform(0.4, 1.2))
    colour = CLOTHS[rng.integers(len(CLOTHS))] * rng.uniform(0.4, 1.4)
    paint = _coloured(rng, at, np.asarray(colour, np.float32), (0.5, 0.5, 0.5))
    points = (head + np.maximum(thick, 0.15)[:, None] * normals).astype(np.float32)
    _shell(parts, kit, points, inside > 0, paint, Part.CLOTH, 0.01)


def _beard(
    rng: np.random.Generator, parts: Parts, kit: FaceKit, head: FloatArray, normals: FloatArray, hair: Hair
) -> None:
    where = places(kit)
    inside = np.maximum(hair.beard * where.beard, hair.moustache * where.moustache)
    seed = int(rng.integers(1 << 30))
    thick = inside * rng.uniform(0.2, 1.6) * (1 + 0.4 * noise3(kit.neutral, 0.8, seed))
    colour = _coloured(rng, kit.neutral, hair.natural, (0.2, 0.8, 0.4))
    points = head + (0.03 + np.maximum(thick, 0))[:, None] * normals
    _shell(parts, kit, points, inside > 0.35, colour, Part.HAIR, 0.02)


def _locks(
    rng: np.random.Generator, parts: Parts, kit: FaceKit, head: FloatArray, normals: FloatArray, inside: FloatArray,
    hair: Hair,
) -> None:  # fmt: skip
    roots = np.flatnonzero(inside > 0.1)
    # Combed hair lies in one mass, as most long hair does; other hair shows strands, or thick locks.
    style = rng.random()
    combed, fine = style < 0.55, style < 0.92
    count = int(rng.integers(170, 300) if combed else rng.integers(250, 500) if fine else rng.integers(50, 160))
    calm = 0.4 if combed else 1.0
    roots = roots[rng.integers(0, len(roots), count)]
    long = hair.hood_cm > 0
    length = (hair.hood_cm + 12 if long else 1.5 + 2.5 * hair.length_cm) * rng.uniform(0.6, 1.1, count)
    # What grows over the forehead is cut short, or it would cover the face.
    length = np.minimum(length, np.where(kit.neutral[roots, 2] > 2.0, rng.uniform(1.0, 4.0), 99.0))
    comb = np.array([hair.parting * 0.1 + rng.normal(0, 0.3), rng.uniform(-0.2, 0.6), rng.uniform(-0.8, 0.5)])
    start, out = head[roots], normals[roots]
    scatter = rng.normal(0, calm * (0.12 + 0.5 * hair.curl), (count, 3))
    direction = out * rng.uniform(0.1, 0.25 if fine else 0.8) + comb + scatter
    fall = np.array([0, -1.0, 0]) * (0.35 if long else 0.16)
    step = (length / STEPS)[:, None]
    margin = rng.uniform(0.2, 0.6) + hair.length_cm * rng.uniform(0.1, 0.5)
    path = np.empty((STEPS, count, 3))
    at = start.astype(np.float64)
    spread = rng.uniform(0, calm * (0.5 if fine else 1.2), (count, 1))
    for k in range(STEPS):
        path[k] = at
        direction = direction + fall + rng.normal(0, calm * (0.03 + 0.3 * hair.curl), (count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        at = at + step * direction
        at = _outside(at, margin + spread)
    width = rng.uniform(0.9, 2.0, count) if combed else rng.uniform(0.2, 0.7 if fine else 1.3, count)
    width = width[:, None] * np.sin(np.linspace(0.5, 2.9, STEPS))[:, None, None]
    outward = (path - SKULL_CENTRE) / np.square(SKULL_RADII)
    along = np.gradient(path, axis=0)
    across = np.cross(along, outward)
    across /= np.linalg.norm(across, axis=2, keepdims=True) + 1e-9
    ribbon = np.stack(
        [path - width * across, path + (0.03 if fine else 0.12) * 60 * outward, path + width * across], 2
    )  # [S,N,3,3]
    points = ribbon.transpose(1, 0, 2, 3).reshape(-1, 3).astype(np.float32)
    one = grid_triangles(STEPS, 3)
    triangles = (one[None] + 3 * STEPS * np.arange(count)[:, None, None]).reshape(-1, 3)
    shade = np.repeat(1 + calm * rng.uniform(-0.3, 0.35, count), 3 * STEPS)[:, None]
    colour = shade * _coloured(rng, points, hair.colour, (0.3, 1.5, 0.3))
    body = ramp(points[:, 1], -6.0, -14.0)
    parts.add(points, triangles, colour, Part.HAIR, gloss=float(rng.uniform(0.03, 0.15)), body=body)


def _outside(at: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Moves points out of the head, the neck, and off the face."""
    radii = SKULL_RADII + margin
    scaled = (at - SKULL_CENTRE) / radii
    far = np.linalg.norm(scaled, axis=1, keepdims=True)
    at = np.where((far < 1), SKULL_CENTRE + scaled / np.maximum(far, 1e-3) * radii, at)
    # A cylinder for jaw and neck below the ears, and shoulders that the hair lies on.
    low = at[:, 1] < 3
    flat = np.hypot(at[:, 0] / (7.6 + margin[:, 0]), (at[:, 2] + 1.0) / (6.0 + margin[:, 0]))
    push = np.where(low & (flat < 1), 1 / np.maximum(flat, 0.2), 1.0)
    at = at.copy()
    at[:, 0] *= push
    at[:, 2] = (at[:, 2] + 1.0) * push - 1.0
    # Hair that would hang before the face is drawn aside.
    before = (at[:, 1] < 9) & (at[:, 2] > 3.5)
    at[:, 0] = np.where(before & (np.abs(at[:, 0]) < 7.2), np.sign(at[:, 0] + 1e-6) * 7.2, at[:, 0])
    return at
