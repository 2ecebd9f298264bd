"""render draws a posed person in a room and tells the truth of every pixel: normal, depth, albedo, light and part.

The camera has perspective. A surface sends back albedo times the light that reaches it (Lambert), of which a share
comes from its own neighbourhood (one bounce), and a highlight (Blinn–Phong) of the lamps. Where glasses cover the face
the picture shows them, and the truth is that of the face under them: light is to fall as if they were not there.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lcvd.face.geometry import vertex_normals
from lcvd.face.raster import rasterize
from lcvd.types import FloatArray
from training.heads.scanned.parts import Mesh, Part
from training.heads.scanned.room import Room
from training.heads.scanned.visibility import depth_maps, lit

SUPER = 2
BOUNCE = 0.35  # share of the light around that comes back from skin nearby, at albedo 1
SHINE = 18.0


class Posed(NamedTuple):
    """Holds a person as the camera sees it; cm, origin at the head's centre, axes as in the kit."""

    points: FloatArray  # [V,3]
    normals: FloatArray  # [V,3]
    pixels: FloatArray  # [V,3] x right, y down, in px of the picture; z to the viewer


class Picture(NamedTuple):
    """Holds one rendered picture of S×S pixels; linear light."""

    rgb: FloatArray  # [S,S,3] exposed so that the face's mean luminance is 1
    coverage: FloatArray  # [S,S] 1 = person
    normal: FloatArray  # [S,S,3] unit, +x right, +y up, +z to the viewer; 0 outside the person
    depth: FloatArray  # [S,S] cm toward the viewer; 0 outside the person
    albedo: FloatArray  # [S,S,3]
    light: FloatArray  # [S,S,3] irradiance/π, as it is exposed
    part: NDArray[np.uint8]  # [S,S] of Part; 255 outside the person


def posed(mesh: Mesh, points: FloatArray, size: int, focal_px: float, distance_cm: float, centre: FloatArray) -> Posed:
    """Projects `points` [V,3]; `centre` [2] px is where the origin falls, `distance_cm` how far it is."""
    scale = focal_px / (distance_cm - points[:, 2])
    pixels = np.stack([centre[0] + points[:, 0] * scale, centre[1] - points[:, 1] * scale, points[:, 2]], 1)
    # The z-buffer interpolates in the picture's plane: 1/distance does so exactly.
    pixels[:, 2] = 1e4 / (distance_cm - points[:, 2])
    return Posed(points.astype(np.float32), vertex_normals(points, mesh.triangles), pixels.astype(np.float32))


def render(mesh: Mesh, at: Posed, room: Room, background: FloatArray, exposed: bool = True) -> Picture:
    """Draws the person before `background` [S,S,3] (linear, 1 = as bright as the face).

    Where `exposed` is false, light stays as the room has it.
    """
    return next(renders(mesh, at, [(room, background)], exposed))


def renders(
    mesh: Mesh, at: Posed, places: Sequence[tuple[Room, FloatArray]], exposed: bool = True
) -> Iterator[Picture]:
    """Draws the same pose in each of `places`: a room, and a background of one size S as for `render`.

    What is seen, and the shadows of directions that rooms share, are computed once.
    """
    size = places[0][1].shape[0]
    shape = (SUPER * size, SUPER * size)
    scaled = at.pixels * np.array([SUPER, SUPER, 1], np.float32)
    of = mesh.part[mesh.triangles[:, 0]]
    bare = mesh.triangles[of != Part.GLASSES]
    all_of_it = rasterize(scaled, mesh.triangles, shape)
    below = rasterize(scaled, bare, shape) if len(bare) < len(mesh.triangles) else all_of_it
    # Eyes, teeth and the mouth's inside are half of all triangles, and their shadows fall on nothing that is seen.
    casters = mesh.triangles[(of != Part.EYE) & (of != Part.MOUTH)]
    directions, place = np.unique(np.concatenate([room.directions for room, _ in places]), axis=0, return_inverse=True)
    maps, frames = depth_maps(at.points, casters, directions)
    attributes = np.column_stack((at.points, at.normals, mesh.albedo, mesh.gloss)).astype(np.float32)
    start = 0
    for room, background in places:
        own = place.ravel()[start : start + len(room.directions)]
        start += len(room.directions)
        out = np.zeros((4, size, size, 3), np.float32)  # rgb, normal, albedo, light
        cover, depth = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
        part = np.full((size, size), 255, np.uint8)
        _shade(
            all_of_it.triangle, all_of_it.barycentric, mesh.triangles, below.triangle, below.barycentric, bare,
            attributes, mesh.part, room.directions, room.rgb, room.lamp, maps[own], frames[own], out, cover, depth,
            part,
        )  # fmt: skip
        yield _picture(out, cover, depth, part, background, exposed)


def _picture(
    out: FloatArray, cover: FloatArray, depth: FloatArray, part: NDArray[np.uint8], background: FloatArray,
    exposed: bool,
) -> Picture:  # fmt: skip
    seen = cover > 0
    for layer in (2, 3):
        out[layer][seen] /= cover[seen][:, None]
    depth[seen] /= cover[seen]
    out[1] /= np.maximum(np.linalg.norm(out[1], axis=2, keepdims=True), 1e-6)
    skin = (part == Part.SKIN) & (cover > 0.9)
    level = float(np.median(out[0][skin].mean(1))) if skin.sum() > 20 else 0.2
    gain = np.float32(1 / max(level, 1e-4) if exposed else 1)
    rgb = out[0] * gain + (1 - cover)[..., None] * background
    return Picture(rgb, cover, out[1], depth, out[2], out[3] * gain, part)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _light_at(points, directions, rgb, maps, frames, lamp, x, y, z, nx, ny, nz, light):  # type: ignore[no-untyped-def]
    """Writes the light that reaches a point into `light` [3]; returns the lamps' highlight."""
    shine = np.float32(0.0)
    reached, whole = np.float32(0.0), np.float32(1e-6)
    for c in range(3):
        light[c] = 0.0
    for n in range(len(directions)):
        dx, dy, dz = directions[n, 0], directions[n, 1], directions[n, 2]
        facing = nx * dx + ny * dy + nz * dz
        if facing <= 0:
            continue
        open_ = lit(maps[n], frames[n], x, y, z)
        reached += facing * open_
        whole += facing
        for c in range(3):
            light[c] += rgb[n, c] * facing * open_
        if lamp[n] > 0 and open_ > 0:
            hx, hy, hz = dx, dy, dz + np.float32(1.0)
            half = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz)
            shine += open_ * rgb[n, 1] * np.float32(max(half, 0.0) ** SHINE)
    closed = np.float32(1.0) - reached / whole
    for c in range(3):  # one bounce: what is shut off looks at lit skin
        light[c] += np.float32(BOUNCE) * closed * points[c]
    return shine


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _shade(  # type: ignore[no-untyped-def]
    triangle, bary, triangles, triangle2, bary2, triangles2, attributes, parts, directions, rgb, lamp, maps, frames,
    out, cover, depth, part,
):  # fmt: skip
    size = cover.shape[0]
    step = triangle.shape[0] // size
    weight = np.float32(1.0 / (step * step))
    value = np.empty(10, np.float32)
    light = np.empty(3, np.float32)
    bounce = np.empty(3, np.float32)
    for c in range(3):  # a bounce of skin of the mean tone in the mean light
        bounce[c] = np.float32(0.0)
        for n in range(len(directions)):
            bounce[c] += np.float32(0.25 * 0.4) * rgb[n, c]
    for i in range(size):
        for j in range(size):
            for s in range(step * step):
                r, q = i * step + s // step, j * step + s % step
                m = triangle[r, q]
                if m < 0:
                    continue
                cover[i, j] += weight
                _gather(attributes, triangles, m, bary, r, q, value)
                nx, ny, nz = value[3], value[4], value[5]
                length = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-9)
                if nz < 0:
                    length = -length  # ribbons have two sides
                shine = _light_at(
                    bounce, directions, rgb, maps, frames, lamp, value[0], value[1], value[2], nx / length, ny / length,
                    nz / length, light,
                )  # fmt: skip
                for c in range(3):
                    out[0, i, j, c] += weight * (value[6 + c] * light[c] + value[9] * shine)
                m2 = triangle2[r, q]
                if m2 < 0:
                    continue
                if m2 != m or triangles2.shape[0] != triangles.shape[0]:
                    _gather(attributes, triangles2, m2, bary2, r, q, value)
                    nx, ny, nz = value[3], value[4], value[5]
                    length = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-9)
                    if nz < 0:
                        length = -length
                    _light_at(
                        bounce, directions, rgb, maps, frames, lamp, value[0], value[1], value[2], nx / length,
                        ny / length, nz / length, light,
                    )  # fmt: skip
                out[1, i, j, 0] += weight * nx / length
                out[1, i, j, 1] += weight * ny / length
                out[1, i, j, 2] += weight * nz / length
                for c in range(3):
                    out[2, i, j, c] += weight * value[6 + c]
                    out[3, i, j, c] += weight * light[c]
                depth[i, j] += weight * value[2]
                part[i, j] = parts[triangles2[m2, 0]]


@numba.njit(nogil=True, fastmath=True, inline="always")
def _gather(attributes, triangles, m, bary, r, q, value):  # type: ignore[no-untyped-def]
    a, b, c = triangles[m, 0], triangles[m, 1], triangles[m, 2]
    for k in range(10):
        value[k] = (
            bary[r, q, 0] * attributes[a, k] + bary[r, q, 1] * attributes[b, k] + bary[r, q, 2] * attributes[c, k]
        )
