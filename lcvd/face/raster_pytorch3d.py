"""pytorch3d's rasteriser as a Rasterizer: the one that the authors' code draws hints with.

Optional: pytorch3d (and torch) must be installed; CUDA where there is one. Pixels, y down, z to the viewer become its
NDC: +x left, +y up, the shorter side of the picture from −1 to 1, pixel edges at the ends, z growing away from the
viewer and above 0 (pytorch3d.org/docs/cameras). Affine interpolation, no blur, nothing culled: the settings DECA uses.
"""

import importlib.util

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.face.raster import MAX_SIDE_PX, checked_mesh, rasterize
from lcvd.protocols import Raster, Rasterizer
from lcvd.types import FloatArray

PIP = "pip install easypytorch3d (CUDA), or build pytorch3d from github.com/facebookresearch/pytorch3d"


class Pytorch3dRasterizer:
    """Rasterizer (protocol) on `device`. Raises ModelUnavailable where pytorch3d cannot be imported."""

    def __init__(self, device: str = "cpu") -> None:
        try:
            import torch
            from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
            from pytorch3d.structures import Meshes
        except (ImportError, OSError) as error:
            raise ModelUnavailable(f"pytorch3d cannot be imported: {error}", PIP) from error
        self._torch, self._rasterize_meshes, self._meshes = torch, rasterize_meshes, Meshes
        self._device = device

    def __call__(self, vertices: FloatArray, triangles: NDArray[np.int32], size: tuple[int, int]) -> Raster:
        """Rasterise as `lcvd.face.raster.rasterize` does, equal up to rounding at edges. Raises ShapeError."""
        vertices, triangles = checked_mesh(vertices, triangles)
        height, width = size
        if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
            raise ShapeError(f"size (height, width) = {size}", f"both sides must be in 1…{MAX_SIDE_PX}")
        # A vertex that is not finite would spoil the whole batch; its triangles are left out, as in lcvd.face.raster.
        finite = np.asarray(np.isfinite(vertices).all(1))
        kept = np.flatnonzero(finite[triangles].all(1))
        if not len(kept):
            return _empty(size)
        half = min(size) / 2
        used = np.where(np.isfinite(vertices), vertices, 0)
        near = float(used[triangles[kept], 2].max())
        # One half-side in front of the nearest vertex: pytorch3d drops what is not at z > 0.
        ndc = np.stack([(width / 2 - used[:, 0]), (height / 2 - used[:, 1]), near - used[:, 2] + half], 1) / half
        torch = self._torch
        mesh = self._meshes(
            verts=torch.as_tensor(ndc[None], dtype=torch.float32, device=self._device),
            faces=torch.as_tensor(triangles[kept][None], dtype=torch.int64, device=self._device),
        )
        face, depth, barycentric, _ = self._rasterize_meshes(
            mesh,
            image_size=(height, width),
            blur_radius=0.0,
            faces_per_pixel=1,
            bin_size=None if self._device.startswith("cuda") else 0,
            perspective_correct=False,
            clip_barycentric_coords=False,
            cull_backfaces=False,
        )
        index = face[0, :, :, 0].cpu().numpy()
        seen = index >= 0
        z = near + half - depth[0, :, :, 0].cpu().numpy() * half
        return Raster(
            np.where(seen, kept[np.where(seen, index, 0)], -1).astype(np.int32),
            np.where(seen[..., None], barycentric[0, :, :, 0].cpu().numpy(), 0).astype(np.float32),
            np.where(seen, z, -np.inf).astype(np.float32),
        )


def make_rasterizer(device: str = "cpu") -> tuple[Rasterizer, str]:
    """Return pytorch3d's rasteriser where it is installed, else ours, and a note that names the choice."""
    if importlib.util.find_spec("pytorch3d") is None:
        return rasterize, "Rasteriser: lcvd.face.raster (numba); pytorch3d is not installed."
    try:
        return Pytorch3dRasterizer(device), f"Rasteriser: pytorch3d on {device}."
    except ModelUnavailable as error:
        return rasterize, f"Rasteriser: lcvd.face.raster (numba); {error.message}."


def _empty(size: tuple[int, int]) -> Raster:
    return Raster(np.full(size, -1, np.int32), np.zeros((*size, 3), np.float32), np.full(size, -np.inf, np.float32))
