"""A face and a person mask give the whole person's surface on the working grid: normals, depth, contour and skin.

The face mesh ends at the cheeks, but the light must not. A screened Poisson solve (engine.relighting.screened_poisson)
at half the grid's resolution continues normals and depth between four targets: the mesh (strong), the mask's contour
(turned outward), a skull behind the face (weak, for hair and ears) and a body that faces the viewer. The fields are
smooth across the contour, because edges come from alpha alone. Depth is in face widths from the head's centre, y is up.
"""

from typing import NamedTuple

import cv2
import numba
import numpy as np

from engine.relighting.grid import WorkingGrid
from engine.relighting.screened_poisson import solve_screened_poisson
from lcvd.face.geometry import picture_normals
from lcvd.face.raster import interpolate, rasterize
from lcvd.types import Face, FloatArray

FACET_BLUR_FW = 0.022  # facets show under hard light
RIM_FW = 0.04  # width of the contour that a light from behind can reach
SKULL_CENTRE_CM = np.array([0.0, 2.6, -2.4], np.float32)
SKULL_RADII_CM = np.array([8.4, 11.3, 9.6], np.float32)
RELIEF = 1.25  # factor on the mesh's depth, because the network and the blurring of facets flatten the nose
# Hair is moved this much further back than the skull: hardly on top, where it stands over the forehead, and much at the
# sides, where it must not shade the cheek beside it.
TOP_BACK_FW, SIDE_BACK_FW = 0.05, 0.30
MESH_WEIGHT, CONTOUR_WEIGHT, SKULL_WEIGHT, PRIOR_WEIGHT = 8.0, 3.0, 0.06, 0.03
BODY_WEIGHT = 0.10
SKULL_DEPTH_WEIGHT, BODY_DEPTH_WEIGHT = 0.5, 0.25
CONTOUR_Z = 0.35
NECK_FW, CHEST_FW = -0.22, -0.10  # depth of the neck below the jaw, and of the chest further down
BACKGROUND_FW = -9.0  # depth outside the person, where nothing casts a shadow


class PersonSurface(NamedTuple):
    """The person's surface, float32, one value per cell of the working grid."""

    normal: FloatArray  # [H,W,3] unit
    depth: FloatArray  # [H,W] face widths, BACKGROUND_FW outside the person
    rim: FloatArray  # [H,W] 1 at the contour, 0 from RIM_FW inside it on
    skin: FloatArray  # [H,W] 1 where the mesh shows skin


def person_surface(face: Face, mask: FloatArray, grid: WorkingGrid) -> PersonSurface:
    """Return the surface of the person with `face`, given `mask` [rows,cols] in [0,1] on `grid`, 1 = person."""
    mesh = _mesh_layers(face, grid)
    cell_fw = grid.cell_px / face.width_px
    half_mesh, half_mask = _halved(mesh), _halved(mask[..., None])[..., 0]
    half = half_mask.shape
    weighted = np.empty((*half, 3), np.float32)
    weight = np.empty(half, np.float32)
    weighted_z = np.empty((*half, 1), np.float32)
    weight_z = np.empty(half, np.float32)
    outward = _outward(half_mask)
    # The skull is given in canonical cm, y up: these two map a cell of the half grid there.
    step_cm = np.array([grid.width / half[1], grid.height / half[0]], np.float32) / face.scale_px_per_cm
    start_cm = (np.array([grid.x0, grid.y0], np.float32) - face.translation_px[:2]) / face.scale_px_per_cm
    chin_cm = (face.vertices_px[face.mesh.regions["face_oval"], 1].max() - face.translation_px[1]) / (
        face.scale_px_per_cm
    )
    fw_cm = face.width_px / face.scale_px_per_cm
    _targets(
        half_mesh,
        outward,
        np.ascontiguousarray(face.rotation, np.float32),
        start_cm + 0.5 * step_cm,
        step_cm,
        np.float32(chin_cm),
        np.float32(fw_cm),
        weighted,
        weight,
        weighted_z,
        weight_z,
    )
    smooth = solve_screened_poisson(weighted, weight)
    smooth_z = solve_screened_poisson(weighted_z, weight_z)
    size = (grid.cols, grid.rows)
    fine = cv2.resize(smooth, size, interpolation=cv2.INTER_LINEAR)
    fine_z = cv2.resize(smooth_z[..., 0], size, interpolation=cv2.INTER_LINEAR)
    normal = np.empty((grid.rows, grid.cols, 3), np.float32)
    depth = np.empty(mask.shape, np.float32)
    rim = _box(mask, RIM_FW / cell_fw)
    # A patch where the mask stays near one half has no contour; without this its whole area would get a rim term.
    contour = cv2.resize(np.ascontiguousarray(outward[..., 2]), size, interpolation=cv2.INTER_LINEAR)
    _combine(mesh, fine, fine_z, mask, contour, normal, depth, rim)
    return PersonSurface(normal, depth, rim, np.ascontiguousarray(mesh[..., 5]))


def _mesh_layers(face: Face, grid: WorkingGrid) -> FloatArray:
    """Return [rows,cols,6]: normal · coverage, depth · coverage (face widths), coverage, skin; facets are blurred."""
    layers = np.zeros((grid.rows, grid.cols, 6), np.float32)
    vertices = grid.vertices(face.vertices_px)
    radius = FACET_BLUR_FW * face.width_px / grid.cell_px
    # Only the box around the face is drawn: it is a tenth of the grid, and the blurs dominate the cost.
    margin = 2 * (int(radius) + 1)
    left, top = (max(int(low) - margin, 0) for low in vertices[:, :2].min(0))
    right, bottom = (int(high) + 2 + margin for high in vertices[:, :2].max(0))
    right, bottom = min(right, grid.cols), min(bottom, grid.rows)
    if left >= right or top >= bottom:
        return layers
    vertices -= np.array([left, top, 0], np.float32)
    raster = rasterize(vertices, face.mesh.triangles, (bottom - top, right - left))
    attributes = np.empty((len(vertices), 6), np.float32)
    attributes[:, :3] = picture_normals(face.vertices_px, face.mesh.triangles)
    attributes[:, 3] = (face.vertices_px[:, 2] - face.translation_px[2]) * np.float32(RELIEF / face.width_px)
    attributes[:, 4] = 1
    attributes[:, 5] = 0
    drawn = interpolate(raster, face.mesh.triangles, attributes)
    seen = raster.triangle >= 0
    drawn[..., 5][seen] = face.mesh.skin_triangles[raster.triangle[seen]]
    layers[top:bottom, left:right] = _box(_box(drawn, radius), radius)
    return layers


def _box(field: FloatArray, radius: float) -> FloatArray:
    """Box-filter with a fractional radius in cells: a blend of the two whole radii around it, continuous in size."""
    low = int(radius)
    share = radius - low
    small = _whole_box(field, low)
    if share < 1e-3:
        return small
    return small + np.float32(share) * (_whole_box(field, low + 1) - small)


def _whole_box(field: FloatArray, radius: int) -> FloatArray:
    if radius == 0:
        return field
    side = (2 * radius + 1, 2 * radius + 1)
    return cv2.blur(field, side, borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _halved(field):  # type: ignore[no-untyped-def]
    """Downsample [H,W,C] to [⌈H/2⌉,⌈W/2⌉,C] by area means; cv2.resize would take at most four channels."""
    height, width, count = field.shape
    out = np.zeros(((height + 1) // 2, (width + 1) // 2, count), np.float32)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            i1, j1 = min(2 * i + 1, height - 1), min(2 * j + 1, width - 1)
            for c in range(count):
                upper = field[2 * i, 2 * j, c] + field[2 * i, j1, c]
                out[i, j, c] = np.float32(0.25) * (upper + field[i1, 2 * j, c] + field[i1, j1, c])
    return out


def _outward(mask: FloatArray) -> FloatArray:
    """Return [H,W,3]: the unit direction out of the person (x, y up), and in [0,1] how sharp a contour the cell is."""
    soft = cv2.blur(mask, (3, 3), borderType=cv2.BORDER_REPLICATE)
    out = np.empty((*mask.shape, 3), np.float32)
    _downhill(soft, out)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _downhill(field, out):  # type: ignore[no-untyped-def]
    """Write the direction against the gradient of `field` [H,W] by Sobel's filter, and its size as `_outward` says."""
    height, width = field.shape
    one, eighth = np.float32(1.0), np.float32(1 / 8)
    for i in range(height):
        up, at, down = field[max(i - 1, 0)], field[i], field[min(i + 1, height - 1)]
        for j in range(width):
            k, m = max(j - 1, 0), min(j + 1, width - 1)
            dx = eighth * ((up[m] - up[k]) + (at[m] - at[k]) + (at[m] - at[k]) + (down[m] - down[k]))
            dy = eighth * ((down[k] - up[k]) + (down[j] - up[j]) + (down[j] - up[j]) + (down[m] - up[m]))
            size = np.sqrt(dx * dx + dy * dy)
            scale = one / max(size, np.float32(1e-4))
            out[i, j, 0], out[i, j, 1] = -dx * scale, dy * scale
            sharp = min(np.float32(5.0) * size, one)
            out[i, j, 2] = sharp * sharp


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _targets(  # type: ignore[no-untyped-def]
    mesh, outward, rotation, start, step, chin, fw, weighted, weight, weighted_z, weight_z
):
    """Write Σ weight · target and Σ weight, for the normal and for the depth (face widths)."""
    one, zero = np.float32(1.0), np.float32(0.0)
    flat = np.sqrt(one - np.float32(CONTOUR_Z * CONTOUR_Z))
    origin = np.empty(3, np.float32)
    ray = np.empty(3, np.float32)
    for i in range(weight.shape[0]):
        y = -(start[1] + i * step[1])
        for j in range(weight.shape[1]):
            x = start[0] + j * step[0]
            # The prior is a body that faces the viewer and leans back a little, so that light from above reaches it.
            below = max((-chin - y) / fw, zero)  # face widths below the chin
            torso = min(below, one)
            # Arms and chest are flatter than a head, so the contour's outward turn must not reach far into them.
            w = np.float32(PRIOR_WEIGHT) + np.float32(BODY_WEIGHT) * torso
            nx, ny, nz = zero, w * np.float32(0.12), w
            wz = np.float32(BODY_DEPTH_WEIGHT)
            z = wz * (np.float32(NECK_FW) + np.float32(CHEST_FW - NECK_FW) * torso)
            cover = mesh[i, j, 4]
            solid = cover * cover * cover * cover
            heavy = np.float32(MESH_WEIGHT) * solid
            if cover > np.float32(1e-3):
                share = heavy / cover
                nx += share * mesh[i, j, 0]
                ny += share * mesh[i, j, 1]
                nz += share * mesh[i, j, 2]
                z += share * mesh[i, j, 3]
                w += heavy
                wz += heavy
            edge = np.float32(CONTOUR_WEIGHT) * outward[i, j, 2] * (one - solid)
            edge *= one - np.float32(0.6) * torso
            nx += edge * flat * outward[i, j, 0]
            ny += edge * flat * outward[i, j, 1]
            nz += edge * np.float32(CONTOUR_Z)
            w += edge
            # The skull: intersect the ray (x, y, ·) in canonical axes, scaled so that the ellipsoid is a unit sphere.
            a, b, c = zero, zero, zero
            for k in range(3):
                radius = np.float32(SKULL_RADII_CM[k])
                origin[k] = (rotation[0, k] * x + rotation[1, k] * y - np.float32(SKULL_CENTRE_CM[k])) / radius
                ray[k] = rotation[2, k] / radius
                a += ray[k] * ray[k]
                b += ray[k] * origin[k]
                c += origin[k] * origin[k]
            inside = b * b - a * (c - one)
            if inside > zero:
                depth = (-b + np.sqrt(inside)) / a
                sx, sy, sz = zero, zero, zero
                for k in range(3):
                    g = (origin[k] + depth * ray[k]) / np.float32(SKULL_RADII_CM[k])
                    sx += rotation[0, k] * g
                    sy += rotation[1, k] * g
                    sz += rotation[2, k] * g
                weak = np.float32(SKULL_WEIGHT) / np.sqrt(sx * sx + sy * sy + sz * sz)
                nx += weak * sx
                ny += weak * sy
                nz += weak * sz
                w += np.float32(SKULL_WEIGHT)
                above = min(max((y + chin) / fw * np.float32(3.0), zero), one)  # the neck hides the skull below
                deep = np.float32(SKULL_DEPTH_WEIGHT) * above
                back = np.float32(TOP_BACK_FW) + np.float32(SIDE_BACK_FW) * origin[0] * origin[0]
                z += deep * (depth / fw - back)
                wz += deep
            weighted[i, j, 0], weighted[i, j, 1], weighted[i, j, 2] = nx, ny, nz
            weight[i, j] = w
            weighted_z[i, j, 0] = z
            weight_z[i, j] = wz


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _combine(mesh, smooth, smooth_z, mask, contour, normal, depth, rim):  # type: ignore[no-untyped-def]
    """Blend the mesh over the solved fields. `rim` holds the blurred mask on entry and the contour on return."""
    one, zero = np.float32(1.0), np.float32(0.0)
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            cover = mesh[i, j, 4]
            t = min(max((cover - np.float32(0.55)) * np.float32(2.5), zero), one)
            t = t * t * (np.float32(3.0) - np.float32(2.0) * t)
            inverse = t / max(cover, np.float32(1e-3))
            x = smooth[i, j, 0] * (one - t) + mesh[i, j, 0] * inverse
            y = smooth[i, j, 1] * (one - t) + mesh[i, j, 1] * inverse
            z = smooth[i, j, 2] * (one - t) + mesh[i, j, 2] * inverse
            # The solve shortens vectors where directions disagree, and no visible surface faces away from the viewer.
            z = max(z, np.float32(0.05))
            length = np.sqrt(x * x + y * y + z * z)
            normal[i, j, 0], normal[i, j, 1], normal[i, j, 2] = x / length, y / length, z / length
            deep = smooth_z[i, j] * (one - t) + mesh[i, j, 3] * inverse
            # A depth between the head's and the background's would lie in every shadow, so there is a hard threshold.
            depth[i, j] = deep if mask[i, j] > np.float32(0.4) else np.float32(BACKGROUND_FW)
            # `rim` is a blurred step, 1/2 on the contour, so the rim term peaks there, falls off inward and hardly
            # spills out. Off the contour it is exactly zero, since residues of the blur have denormal, slow squares.
            edge = min(max(np.float32(1.99) - np.float32(2.0) * rim[i, j], zero), one)
            edge *= edge * min(np.float32(1.5) * contour[i, j], one)
            rim[i, j] = edge * min(max(np.float32(4.0) * rim[i, j] - np.float32(0.01), zero), one)
