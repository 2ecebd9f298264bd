"""The light in the picture is found from a face painted under a known light."""

from dataclasses import replace

import numpy as np
import pytest

from engine.relighting.source_light import SourceLight, prior
from lcvd.face.geometry import face_mesh, picture_normals
from lcvd.face.neutral import centred_face
from lcvd.face.raster import interpolate, rasterize
from lcvd.lighting.lighting import shading
from lcvd.lighting.sh import sh_basis
from tests.engine.synthetic_person import EVEN, LEFT, RIGHT, moved

SIZE = (240, 320)
SIDES = np.array([[-0.6, 0, 0.8], [0.6, 0, 0.8]], np.float32)


def painted(lighting, albedo=0.35, exposure=1.0, t_s=0.0):
    """Return a face of one albedo under `lighting` as (rgb uint8 [H,W,3], Face)."""
    face = centred_face(SIZE, t_s)
    raster = rasterize(face.vertices_px, face.mesh.triangles, SIZE)
    normals = interpolate(raster, face.mesh.triangles, picture_normals(face.vertices_px, face.mesh.triangles))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    linear = np.where(raster.triangle[..., None] >= 0, albedo * exposure * shading(lighting, normals), 0.1)
    return (255 * np.clip(linear, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8), face


def sides(coefficients):
    return sh_basis(SIDES) @ coefficients


@pytest.mark.parametrize("albedo", [0.06, 0.2, 0.45])
def test_finds_the_side_whatever_the_skin(albedo):
    """Dark, medium and light skin under a light from the left all give its side and strength."""
    estimate = SourceLight(face_mesh()).update(*painted(LEFT, albedo))
    left, right = sides(estimate)
    true = shading(LEFT, SIDES)[:, 0]
    assert left / right == pytest.approx(true[0] / true[1], rel=0.4)
    assert left > 1.5 * right


def test_even_light_is_even():
    """A face in even light gives an even estimate, 1 on its front."""
    left, right = sides(SourceLight(face_mesh()).update(*painted(EVEN)))
    assert left == pytest.approx(right, abs=0.05)
    assert left == pytest.approx(1, abs=0.15)


def test_beard_and_glasses_are_outliers():
    """A dark band across the face does not become a light from above."""
    rgb, face = painted(EVEN)
    rgb[128:150] //= 3
    up_down = sh_basis(np.array([[0, 0.5, 0.87], [0, -0.5, 0.87]], np.float32)) @ SourceLight(face_mesh()).update(
        rgb, face
    )
    assert abs(up_down[0] - up_down[1]) < 0.25


def test_exposure_does_not_matter():
    """Half the exposure gives the same light."""
    a = SourceLight(face_mesh()).update(*painted(LEFT, exposure=1.0))
    b = SourceLight(face_mesh()).update(*painted(LEFT, exposure=0.5))
    np.testing.assert_allclose(sides(a), sides(b), atol=0.08)


def test_follows_slowly():
    """When the light changes sides the estimate follows within a second and never jumps."""
    source = SourceLight(face_mesh())
    source.update(*painted(LEFT))
    seen = [sides(source.update(*painted(RIGHT if i else LEFT, t_s=i / 30))) for i in range(45)]
    difference = np.array([left - right for left, right in seen])
    assert difference[0] > 0.3
    assert difference[-1] < -0.3
    assert np.abs(np.diff(difference)).max() < 0.3 * (difference[0] - difference[-1])


def test_too_few_samples_keep_the_last_light():
    """A face that left the picture changes nothing."""
    source = SourceLight(face_mesh())
    before = source.update(*painted(LEFT)).copy()
    rgb, face = painted(RIGHT, t_s=1.0)
    np.testing.assert_array_equal(source.update(rgb, moved(face, 1000.0)), before)
    np.testing.assert_array_equal(source.update(rgb, replace(face, held=True)), before)


def test_prior_is_one_in_front():
    """Before anything was seen the light is 1 on a facing surface and dimmer at the side."""
    front, side = sh_basis(np.array([[0, 0, 1], [1, 0, 0]], np.float32)) @ prior()
    assert front == pytest.approx(1, abs=1e-5)
    assert side == pytest.approx(0.75, abs=1e-5)
