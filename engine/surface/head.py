"""HeadSurface keeps what the surface network said of one head and lays it over the engine's own surface.

The network looks at every third frame, at fewer while the head is still. Its normals are kept and averaged, in the
square that moves with the face; the light in the picture is averaged over a third of a second, whatever the head does.
At the square's border and where the network is not sure, the surface is the engine's own.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from engine.relighting.grid import WorkingGrid
from engine.relighting.shading import SourceShade, basis_dot
from engine.relighting.source_light import MEMORY_S
from engine.relighting.surface import PersonSurface
from engine.surface.crop import SIDE, SurfaceCrop, crop_around
from engine.surface.network import SurfaceNetwork
from engine.surface.source_fit import fitted_light
from lcvd.types import Face, FloatArray

EVERY, STILL_EVERY = 3, 5  # frames, while the head moves and while it is still: a look costs a third of all the rest
MOVED_BLEND, STILL_BLEND = 0.7, 0.3  # share of a new answer
TURNED_RAD, GROWN = 0.03, 0.02  # it is still while it turns and grows by less between two looks
HAIR_SAYS = np.float32(0.15)  # weight of hair and cloth in the fitted light, that of skin is 1: their normals are worse
BORDER = 0.14  # of the square: over this width the answer fades out


class HeadSurface:
    """Follows one head. One thread at a time may use it."""

    def __init__(self, network: SurfaceNetwork) -> None:
        self._network = network
        self._fade = _fade()
        self.reset()

    def reset(self) -> None:
        """Forget the head."""
        self._layers: FloatArray | None = None  # [S,S,4]: the normal's x and y, shadow (FittedLight), confidence
        self._light: FloatArray | None = None  # [9] irradiance coefficients of the light in the picture
        self._rotation: FloatArray | None = None
        self._side = self._t_s = 0.0
        self._age = 0

    def refine(
        self,
        rgb: NDArray[np.uint8],
        face: Face,
        surface: PersonSurface,
        mask: FloatArray,
        source: FloatArray,
        grid: WorkingGrid,
    ) -> tuple[FloatArray, SourceShade]:
        """Return normals [H,W,3] and the light in the picture on `grid`.

        `surface` and `mask` [H,W] are the engine's own, `source` [9] its own estimate of that light (SourceLight).
        """
        crop = crop_around(face)
        self._age += 1
        if self._layers is None or self._age >= (STILL_EVERY if self._is_still(face, crop) else EVERY):
            self._look(rgb, face, surface, mask, grid, crop)
        assert self._layers is not None
        assert self._light is not None
        seen = crop.to_grid(self._layers, grid)
        normal = np.empty_like(surface.normal)
        level, confidence = np.empty_like(mask), np.empty_like(mask)
        _lay(surface.normal, mask, seen, source, self._light, normal, level, confidence)
        return normal, SourceShade(level, confidence)

    def _look(
        self,
        rgb: NDArray[np.uint8],
        face: Face,
        surface: PersonSurface,
        mask: FloatArray,
        grid: WorkingGrid,
        crop: SurfaceCrop,
    ) -> None:
        said = self._network(crop.picture(rgb), crop.from_grid(surface.normal, grid), crop.from_grid(mask, grid))
        sure = said.confidence * self._fade
        on_skin = HAIR_SAYS + (1 - HAIR_SAYS) * crop.from_grid(surface.skin, grid)
        light, shadow = fitted_light(said, sure * on_skin)
        fresh = np.dstack((said.normal[..., :2], shadow, sure))
        if self._layers is not None and self._light is not None:
            keep = np.float32(np.exp(-max(face.t_s - self._t_s, 0.0) / MEMORY_S))
            light = keep * self._light + (1 - keep) * light
            share = STILL_BLEND if self._is_still(face, crop) else MOVED_BLEND
            shares = np.array([share, share, min(share, 1 - keep), share], np.float32)
            fresh = self._layers + shares * (fresh - self._layers)
        self._layers, self._light, self._t_s = fresh, light, face.t_s
        self._rotation, self._side, self._age = face.rotation, crop.side, 0

    def _is_still(self, face: Face, crop: SurfaceCrop) -> bool:
        if self._rotation is None:
            return False
        turned = np.arccos(np.clip((np.trace(self._rotation.T @ face.rotation) - 1) / 2, -1, 1))
        return bool(turned < TURNED_RAD and abs(crop.side / self._side - 1) < GROWN)


def _fade() -> FloatArray:
    """Return [SIDE,SIDE]: 1 inside the square, falling to 0 at its border."""
    at = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    edge = np.clip(np.minimum(at, 1 - at) / BORDER, 0, 1)
    edge = edge * edge * (3 - 2 * edge)
    return np.minimum.outer(edge, edge)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _lay(own, mask, seen, source, light, normal, level, confidence):  # type: ignore[no-untyped-def]
    one, zero = np.float32(1.0), np.float32(0.0)
    width = level.shape[1]
    line = np.empty((4, width), np.float32)  # a row of the normal, and of what the network is sure of
    x, y, z, sure = line[0], line[1], line[2], line[3]
    for i in range(level.shape[0]):
        for j in range(width):
            sure[j] = seen[i, j, 3]
            nx, ny = seen[i, j, 0], seen[i, j, 1]
            nz = np.sqrt(max(one - nx * nx - ny * ny, zero))  # what is seen faces the viewer
            x[j] = own[i, j, 0] + sure[j] * (nx - own[i, j, 0])
            y[j] = own[i, j, 1] + sure[j] * (ny - own[i, j, 1])
            z[j] = own[i, j, 2] + sure[j] * (nz - own[i, j, 2])
        for j in range(width):
            inverse = one / (np.sqrt(x[j] * x[j] + y[j] * y[j] + z[j] * z[j]) + np.float32(1e-6))
            x[j], y[j], z[j] = x[j] * inverse, y[j] * inverse, z[j] * inverse
            # The wall behind has no light of its own here: there the engine's limits stay.
            held = sure[j] * min(max((mask[i, j] - np.float32(0.3)) * np.float32(2.5), zero), one)
            before = basis_dot(x[j], y[j], z[j], source)
            level[i, j] = before + held * (basis_dot(x[j], y[j], z[j], light) * seen[i, j, 2] - before)
            confidence[i, j] = held
        for j in range(width):
            normal[i, j, 0], normal[i, j, 1], normal[i, j, 2] = x[j], y[j], z[j]
