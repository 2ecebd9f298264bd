"""Interfaces of the geometry: Tracker, GroupTracker, Rasterizer and Matte, structural: no class has to inherit them."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lcvd.types import Face, FloatArray


class Raster(NamedTuple):
    """A rasteriser's result: each pixel has a triangle, barycentric coordinates in it, and a depth."""

    triangle: NDArray[np.int32]  # [H,W] index into triangles, -1 where empty
    barycentric: FloatArray  # [H,W,3]
    depth: FloatArray  # [H,W] z to the viewer, -inf where empty


class Tracker(Protocol):
    """A Tracker finds and follows one face. It keeps its state itself; timestamps drive every filter."""

    def track(self, rgb: NDArray[np.uint8], t_s: float) -> Face | None: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class GroupTracker(Tracker, Protocol):
    """A Tracker that also tells the further faces in the frame it tracked last, by numbers that stay theirs."""

    others: Mapping[int, Face]


class Rasterizer(Protocol):
    """Z-buffer. vertices [V,3] x right, y down, z to the viewer, in pixels; nearest wins; size is (height, width)."""

    def __call__(self, vertices: FloatArray, triangles: NDArray[np.int32], size: tuple[int, int]) -> Raster: ...


class Matte(Protocol):
    """Person mask: rgb uint8 [H,W,3] -> float32 [h,w] in [0,1], 1 = person, at the network's own size."""

    def __call__(self, rgb: NDArray[np.uint8]) -> FloatArray: ...
