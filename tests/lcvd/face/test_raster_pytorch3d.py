"""lcvd.face.raster_pytorch3d against lcvd.face.raster, through a stand-in with pytorch3d's documented conventions."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.face.raster import rasterize
from lcvd.face.raster_pytorch3d import Pytorch3dRasterizer, make_rasterizer

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")


def documented_rasterize(meshes, image_size=256, blur_radius=0.0, faces_per_pixel=8, perspective_correct=False, **rest):
    """pytorch3d.org/docs/cameras: +x left, +y up, shorter side −1…1 between pixel edges, nearest = least z > 0."""
    assert (blur_radius, faces_per_pixel, perspective_correct) == (0.0, 1, False)
    assert not rest.get("cull_backfaces")
    height, width = image_size
    unit = min(height, width) / 2
    out = [torch.full((1, height, width, 1), -1, dtype=torch.int64)]
    out += [torch.full((1, height, width, 1), -1.0), torch.full((1, height, width, 1, 3), -1.0)]
    corners = meshes.verts[0].double()[meshes.faces[0]].numpy()
    for i in range(height):
        for j in range(width):
            x, y = (width / 2 - (j + 0.5)) / unit, (height / 2 - (i + 0.5)) / unit
            best = np.inf
            for m, corner in enumerate(corners):
                matrix = np.stack([corner[:, 0], corner[:, 1], np.ones(3)])
                if abs(np.linalg.det(matrix)) < 1e-9:
                    continue
                weights = np.linalg.solve(matrix, [x, y, 1])
                z = weights @ corner[:, 2]
                if (weights >= 0).all() and 0 < z < best:
                    best = z
                    out[0][0, i, j, 0], out[1][0, i, j, 0] = m, z
                    out[2][0, i, j, 0] = torch.from_numpy(weights)
    return (*out, torch.zeros(1, height, width, 1))


@pytest.fixture
def pytorch3d(monkeypatch):
    """A stand-in package with the two documented names we use; an installed one stands back."""
    names = ["pytorch3d", "pytorch3d.structures", "pytorch3d.renderer", "pytorch3d.renderer.mesh"]
    names.append("pytorch3d.renderer.mesh.rasterize_meshes")
    for name in names:
        module = ModuleType(name)
        module.__spec__ = SimpleNamespace(name=name)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules[names[1]].Meshes = lambda verts, faces: SimpleNamespace(verts=verts, faces=faces)
    sys.modules[names[4]].rasterize_meshes = documented_rasterize


@pytest.mark.parametrize("size", [(16, 16), (13, 21), (22, 11)])
def test_equals_our_rasteriser(pytorch3d, size):
    """Wide, tall and square pictures: the same triangle, barycentrics and depth away from edges."""
    rng = np.random.default_rng(1)
    vertices = rng.uniform(-4, 26, (12, 3)).astype(np.float32)
    vertices[:, 2] -= 40  # behind the picture plane as well as before it
    triangles = rng.integers(0, 12, (10, 3)).astype(np.int32)
    got, wanted = Pytorch3dRasterizer()(vertices, triangles, size), rasterize(vertices, triangles, size)
    clear = (wanted.barycentric.min(-1) > 1e-3) & (got.barycentric.min(-1) > 1e-3)
    assert clear.sum() > 40
    assert (got.triangle == wanted.triangle).mean() > 0.97
    np.testing.assert_array_equal(got.triangle[clear], wanted.triangle[clear])
    np.testing.assert_allclose(got.barycentric[clear], wanted.barycentric[clear], atol=2e-3)
    np.testing.assert_allclose(got.depth[clear], wanted.depth[clear], atol=2e-2)
    empty = got.triangle < 0
    assert (got.depth[empty] == -np.inf).all()
    assert not got.barycentric[empty].any()


def test_broken_vertices_and_sizes(pytorch3d):
    """Triangles with a vertex that is not finite are left out with the others' numbers kept; bad sizes are refused."""
    vertices = np.array([[np.nan, 0, 0], [8, 0, 0], [0, 8, 0], [0, 0, 1]], np.float32)
    triangles = np.array([[0, 1, 2], [3, 1, 2]], np.int32)
    raster = Pytorch3dRasterizer()(vertices, triangles, (8, 8))
    assert set(np.unique(raster.triangle)) == {-1, 1}
    nothing = Pytorch3dRasterizer()(vertices, triangles[:1], (4, 5))
    assert (nothing.triangle == -1).all()
    assert nothing.barycentric.shape == (4, 5, 3)
    with pytest.raises(ShapeError, match="size"):
        Pytorch3dRasterizer()(vertices, triangles, (0, 8))


def test_choice(pytorch3d, monkeypatch):
    """With pytorch3d its rasteriser is used; without, or with a broken one, ours is, and the note says so."""
    rasterizer, note = make_rasterizer()
    assert isinstance(rasterizer, Pytorch3dRasterizer)
    assert "pytorch3d on cpu" in note
    monkeypatch.setitem(sys.modules, "pytorch3d.structures", None)
    rasterizer, note = make_rasterizer()
    assert rasterizer is rasterize
    assert "cannot be imported" in note
    with pytest.raises(ModelUnavailable, match="pytorch3d"):
        Pytorch3dRasterizer()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "not installed" in make_rasterizer()[1]
