"""HeadSurface keeps what the surface network said of one head and lays it over the engine's own surface, frame by frame.

The network looks at every second frame; between, and while the head is still, what it said is kept and averaged, in the
square that moves with the face. At the square's border and where the network is not sure, the surface is the engine's.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from engine.relighting.grid import WorkingGrid
from engine.relighting.shading import SourceShade
from engine.relighting.surface import PersonSurface
from engine.surface.crop import SIDE, SurfaceCrop, crop_around
from engine.surface.network import HeadLayers, SurfaceNetwork
from lcvd.types import Face, FloatArray

EVERY = 2  # frames
STILL_BLEND = 0.4  # share of a new answer while the head is still
TURNED_RAD, GROWN = 0.03, 0.02  # it is still while it turns and grows by less between two looks
BORDER = 0.14  # of the square: over this width the answer fades out
DARKEST, BRIGHTEST = -3.2, 1.4  # log of light over the face's mean


class HeadSurface:
    """Follows one head. One thread at a time may use it."""

    def __init__(self, network: SurfaceNetwork) -> None:
        self._network = network
        self.reset()

    def reset(self) -> None:
        """Forget the head."""
        self._layers: FloatArray | None = None  # [S,S,5]: normal, light, confidence
        self._rotation: FloatArray | None = None
        self._side = 0.0
        self._age = 0

    def refine(
        self, rgb: NDArray[np.uint8], face: Face, surface: PersonSurface, mask: FloatArray, source: FloatArray,
        grid: WorkingGrid,
    ) -> tuple[FloatArray, SourceShade]:  # fmt: skip
        """Return normals [H,W,3] and the light in the picture on `grid`.

        `surface` and `mask` [H,W] are the engine's own, `source` [H,W] its own estimate of that light.
        """
        crop = crop_around(face)
        self._age += 1
        if self._layers is None or self._age >= EVERY:
            self._look(rgb, face, surface, mask, grid, crop)
        assert self._layers is not None
        seen, sure = crop.to_grid(self._layers[..., :4], grid), crop.to_grid(self._layers[..., 4], grid)
        normal = np.empty_like(surface.normal)
        level = np.empty_like(source)
        confidence = np.empty_like(source)
        _lay(surface.normal, source, mask, seen, sure, normal, level, confidence)
        return normal, SourceShade(level, confidence)

    def _look(
        self, rgb: NDArray[np.uint8], face: Face, surface: PersonSurface, mask: FloatArray, grid: WorkingGrid,
        crop: SurfaceCrop,
    ) -> None:  # fmt: skip
        said = self._network(crop.picture(rgb), crop.from_grid(surface.normal, grid), crop.from_grid(mask, grid))
        fresh = _stacked(said)
        if self._layers is not None and self._is_still(face, crop):
            fresh = self._layers + np.float32(STILL_BLEND) * (fresh - self._layers)
        self._layers, self._rotation, self._side, self._age = fresh, face.rotation, crop.side, 0

    def _is_still(self, face: Face, crop: SurfaceCrop) -> bool:
        if self._rotation is None:
            return False
        turned = np.arccos(np.clip((np.trace(self._rotation.T @ face.rotation) - 1) / 2, -1, 1))
        return bool(turned < TURNED_RAD and abs(crop.side / self._side - 1) < GROWN)


def _stacked(said: HeadLayers) -> FloatArray:
    """Return normal, light and confidence as one array; confidence and what it weighs fade out at the border."""
    out = np.empty((SIDE, SIDE, 5), np.float32)
    out[..., :3] = said.normal
    out[..., 3] = np.clip(said.light, DARKEST, BRIGHTEST)
    out[..., 4] = said.confidence * _fade()
    return out


def _fade() -> FloatArray:
    at = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    edge = np.clip(np.minimum(at, 1 - at) / BORDER, 0, 1)
    edge = edge * edge * (3 - 2 * edge)
    return np.minimum.outer(edge, edge)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _lay(own, source, mask, seen, sureness, normal, level, confidence):  # type: ignore[no-untyped-def]
    one = np.float32(1.0)
    for i in range(level.shape[0]):
        for j in range(level.shape[1]):
            sure = sureness[i, j]
            x = own[i, j, 0] + sure * (seen[i, j, 0] - own[i, j, 0])
            y = own[i, j, 1] + sure * (seen[i, j, 1] - own[i, j, 1])
            z = own[i, j, 2] + sure * (seen[i, j, 2] - own[i, j, 2])
            length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
            normal[i, j, 0], normal[i, j, 1], normal[i, j, 2] = x / length, y / length, z / length
            # The wall behind has no light of its own here: there the engine's limits stay.
            held = sure * min(max((mask[i, j] - np.float32(0.3)) * np.float32(2.5), np.float32(0.0)), one)
            level[i, j] = source[i, j] + held * (np.exp(seen[i, j, 3]) - source[i, j])
            confidence[i, j] = held
