"""A portrait's surface and the light in it, analysed once and carried along with the portrait's pixels.

The analysis is the live engine's: the person's surface from mesh and mask (engine.relighting.surface), the head's
normals and the source light from the network (engine.surface.head). In each frame the layers are fetched through the
frame's uv map, and normals and depth turn with the head as far as each cell belongs to it.
"""

from typing import NamedTuple

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from engine.relighting.grid import GRID, WorkingGrid
from engine.relighting.least_squares import ridge_solve
from engine.relighting.shading import SourceShade, Surface, shade, source_shade
from engine.relighting.source_light import PRIOR, RIDGE, SourceLight
from engine.relighting.surface import BACKGROUND_FW, person_surface
from engine.surface.head import HeadSurface
from engine.surface.network import SurfaceNetwork
from lcvd.lighting.colour import LUMA
from lcvd.lighting.lighting import pack
from lcvd.lighting.sh import LAMBERT, sh_basis
from lcvd.types import Background, Face, FloatArray, Lighting

MEAN_CELLS = 9  # side of the square over which the person's brightness is averaged
PERSON = 0.4  # alpha from which a cell belongs to the person; depth ends there (engine.relighting.surface)


class MovedSurface(NamedTuple):
    """What one frame is lit with, on the GRID × GRID cells of the picture."""

    surface: Surface
    source: SourceShade
    depth: FloatArray  # [G,G] face widths, BACKGROUND_FW outside the person
    own: FloatArray  # [G,G] gain that makes the portrait's own light give the portrait itself


class PortraitSurface:
    """The surface of one portrait.

    `rgb` [S,S,3] shows `face`, `alpha` [S,S] is the person's, `share` [G,G] each cell's share of the head's movement,
    G = GRID. Without a `network` normals and light are the mesh's and the skin samples' alone.
    """

    def __init__(
        self,
        rgb: NDArray[np.uint8],
        face: Face,
        alpha: FloatArray,
        share: FloatArray,
        network: SurfaceNetwork | None = None,
    ) -> None:
        side = rgb.shape[0]
        grid = WorkingGrid(0, 0, side, side, GRID, GRID, (side, side))
        mask = np.asarray(cv2.resize(alpha, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float32)
        rest = person_surface(face, mask, grid)
        light = SourceLight(face.mesh).update(rgb, face)
        normal, source = rest.normal, source_shade(rest.normal, light)
        if network is not None:
            normal, source = HeadSurface(network).refine(rgb, face, rest, mask, light, grid)
        luma = _mean_luma(rgb, alpha)
        self.light = own_light(normal, source, mask)
        lit = shade(Surface(normal, rest.rim, rest.skin, luma), source, pack(self.light), _NO_SHADOWS, 1.0)
        own = 1 / np.maximum(np.tensordot(LUMA.astype(np.float32), lit[:3], 1), np.float32(0.2))
        # Depth without the drop at the contour, since bilinear sampling would leave a wall there.
        depth = person_surface(face, np.ones_like(mask), grid).depth
        self._rest, self._cell_px = face, grid.cell_px
        fixed = np.dstack([rest.rim, rest.skin, luma, source.level, source.confidence, own])
        self._layers = np.ascontiguousarray(np.dstack([normal, share, depth, fixed]), np.float32)

    def moved(self, uv_map: FloatArray, face: Face, alpha: FloatArray) -> MovedSurface:
        """Return the surface as `uv_map` [S,S,2] px moves it, with the moved `face` and person (`alpha` [G,G]).

        Rim and skin stay where they are on the person.
        """
        turn = (face.rotation @ self._rest.rotation.T).astype(np.float32)
        centre = self._rest.translation_px[:2].astype(np.float32)
        normal, depth = np.empty((*alpha.shape, 3), np.float32), np.empty(alpha.shape, np.float32)
        rows, per_px = np.empty((6, *alpha.shape), np.float32), np.float32(1 / self._rest.width_px)
        _carry(self._layers, uv_map, alpha, turn, centre, per_px, normal, depth, rows)
        rim, skin, luma, level, confidence, own = rows
        return MovedSurface(Surface(normal, rim, skin, luma), SourceShade(level, confidence), depth, own)

    def cell_fw(self, face: Face) -> float:
        """Return the side of a cell in widths of the moved `face`."""
        return self._cell_px / face.width_px


_NO_SHADOWS = np.zeros((0, GRID, GRID), np.float32)


def own_light(normal: FloatArray, source: SourceShade, mask: FloatArray) -> Lighting:
    """Return the light in a portrait as a Lighting of order 2, grey: what `source` says on `normal` [G,G,3].

    `mask` [G,G] is the person. Where the source is sure of itself it counts most; errors are relative. It has no
    shadows, since dividing by an estimated one would brighten skin that no shadow covers.
    """
    basis = sh_basis(normal.reshape(-1, 3)).astype(np.float64)
    level = source.level.ravel().astype(np.float64)
    weight = mask.ravel() * (0.05 + source.confidence.ravel()) / np.square(np.maximum(level, 0.08))
    weighted = basis * weight[:, None]
    total = weight.sum() * 0.01 + 1e-6
    fit = ridge_solve(weighted.T @ basis, weighted.T @ level, total * RIDGE, PRIOR)
    sh = np.repeat((fit / LAMBERT)[:, None], 3, axis=1).astype(np.float32)
    return Lighting("own", (0.0, 0.0, 0.0), (), sh, 0.0, 1.0, Background("keep", 1.0))


def _mean_luma(rgb: NDArray[np.uint8], alpha: FloatArray) -> FloatArray:
    """Return the person's local mean brightness [G,G], squared code values."""
    size, side = (GRID, GRID), (MEAN_CELLS, MEAN_CELLS)
    squares = (rgb.astype(np.float32) / 255) ** 2 @ LUMA.astype(np.float32)
    bright = cv2.blur(cv2.resize(squares * alpha, size, interpolation=cv2.INTER_AREA), side)
    weight = cv2.blur(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), side)
    return np.asarray(bright / np.maximum(weight, 1e-2), np.float32)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _carry(layers, uv, alpha, turn, centre, per_px, normal, depth, rows):  # type: ignore[no-untyped-def]
    """Fetch `layers` [G,G,11] bilinearly at the cells' places in `uv`, and turn normals and depth."""
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    cells = alpha.shape[0]
    step = uv.shape[0] // cells
    last, scale = np.float32(cells - 1), one / np.float32(step)
    cell = np.empty(11, np.float32)
    for i in range(cells):
        for j in range(cells):
            u, v = uv[step // 2 + i * step, step // 2 + j * step, 0], uv[step // 2 + i * step, step // 2 + j * step, 1]
            x, y = min(max(u * scale - half, zero), last), min(max(v * scale - half, zero), last)
            x0, y0 = min(int(x), cells - 2), min(int(y), cells - 2)
            wx, wy = x - np.float32(x0), y - np.float32(y0)
            a, b = (one - wx) * (one - wy), wx * (one - wy)
            c, d = (one - wx) * wy, wx * wy
            for k in range(11):
                upper = a * layers[y0, x0, k] + b * layers[y0, x0 + 1, k]
                cell[k] = upper + c * layers[y0 + 1, x0, k] + d * layers[y0 + 1, x0 + 1, k]
            share = cell[3]
            nx = turn[0, 0] * cell[0] + turn[0, 1] * cell[1] + turn[0, 2] * cell[2]
            ny = turn[1, 0] * cell[0] + turn[1, 1] * cell[1] + turn[1, 2] * cell[2]
            nz = turn[2, 0] * cell[0] + turn[2, 1] * cell[1] + turn[2, 2] * cell[2]
            nx, ny = cell[0] + share * (nx - cell[0]), cell[1] + share * (ny - cell[1])
            nz = cell[2] + share * (nz - cell[2])
            # No visible surface faces away from the viewer, and the warp shows a little more than a solid head would.
            nz = max(max(nz, np.float32(0.2) + np.float32(0.2) * nz), np.float32(0.05))
            inverse = one / np.sqrt(nx * nx + ny * ny + nz * nz)
            normal[i, j, 0], normal[i, j, 1], normal[i, j, 2] = nx * inverse, ny * inverse, nz * inverse
            further = turn[2, 0] * (u - centre[0]) * per_px + turn[2, 1] * (centre[1] - v) * per_px
            further += turn[2, 2] * cell[4]
            deep = cell[4] + share * (further - cell[4])
            depth[i, j] = deep if alpha[i, j] > np.float32(PERSON) else np.float32(BACKGROUND_FW)
            for k in range(6):
                rows[k, i, j] = cell[5 + k]
