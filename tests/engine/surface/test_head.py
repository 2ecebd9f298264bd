"""engine.surface: the square around a face, and what the network says of it laid over the engine's own surface."""

from dataclasses import replace

import numpy as np
import pytest

from engine.relighting.grid import grid_around
from engine.relighting.surface import person_surface
from engine.surface.crop import SIDE, crop_around
from engine.surface.head import STILL_EVERY, HeadSurface
from engine.surface.network import WEIGHTS, HeadLayers, SurfaceNetwork
from engine.surface.source_fit import BRIGHTEST, fitted_light
from lcvd.face.neutral import centred_face
from lcvd.lighting.sh import irradiance_over_pi, sh_basis, sh_from_directional
from tests.engine.synthetic_person import SIZE, person_mask, portrait

SOURCE = np.array([1 / 0.2820948, 0, 0, 0, 0, 0, 0, 0, 0], np.float32)  # even light


class Said:
    """Stands in for the network: the same answer each time, and how often it was asked."""

    def __init__(self, light: float = -1.0, confidence: float = 1.0) -> None:
        self.calls = 0
        normal = np.zeros((SIDE, SIDE, 3), np.float32)
        normal[..., 0], normal[..., 2] = 0.6, 0.8
        layer = np.ones((SIDE, SIDE), np.float32)
        self.layers = HeadLayers(normal, light * layer, confidence * layer)

    def __call__(self, rgb: np.ndarray, normal: np.ndarray, mask: np.ndarray) -> HeadLayers:
        assert rgb.shape == (SIDE, SIDE, 3)
        assert normal.shape == (SIDE, SIDE, 3)
        assert mask.shape == (SIDE, SIDE)
        self.calls += 1
        return self.layers


def refined(head: HeadSurface, shift_px: float = 0.0):
    """Refines the drawn person; returns the engine's own surface beside what came."""
    face = centred_face(SIZE, 0.0)
    step = np.array([shift_px, 0, 0], np.float32)
    face = replace(face, vertices_px=face.vertices_px + step, translation_px=face.translation_px + step)
    grid = grid_around(face, SIZE)
    mask = grid.sample(person_mask().astype(np.float32))
    surface = person_surface(face, mask, grid)
    normal, source = head.refine(portrait(), face, surface, mask, SOURCE, grid)
    return surface, mask, normal, source, grid, face


def test_a_field_comes_back_from_the_square() -> None:
    """What goes from the grid to the square and back is the same inside it, and 0 outside."""
    face = centred_face(SIZE, 0.0)
    grid, crop = grid_around(face, SIZE), crop_around(face)
    y, x = np.mgrid[: grid.rows, : grid.cols].astype(np.float32)
    ramp = 1 + x + 2 * y
    back = crop.to_grid(crop.from_grid(ramp, grid), grid)
    inner = back[grid.rows // 2 - 20 : grid.rows // 2 + 20, grid.cols // 2 - 20 : grid.cols // 2 + 20]
    expected = ramp[grid.rows // 2 - 20 : grid.rows // 2 + 20, grid.cols // 2 - 20 : grid.cols // 2 + 20]
    np.testing.assert_allclose(inner, expected, atol=0.05)


def test_the_square_may_leave_the_frame() -> None:
    """A face at the border gets a whole square, whose outside repeats the frame's edge."""
    face = centred_face(SIZE, 0.0)
    step = np.array([-SIZE[1] / 2, 0, 0], np.float32)
    crop = crop_around(replace(face, vertices_px=face.vertices_px + step))
    rgb = np.full((*SIZE, 3), 77, np.uint8)
    picture = crop.picture(rgb)
    assert picture.shape == (SIDE, SIDE, 3)
    assert (picture == 77).all()
    far = replace(face, vertices_px=face.vertices_px + np.array([9999, 0, 0], np.float32))
    assert crop_around(far).picture(rgb).shape == (SIDE, SIDE, 3)


def test_where_the_network_is_sure_its_word_counts() -> None:
    """In the middle of the face the normal and the light are the network's; outside the person its light is not."""
    _, mask, normal, source, grid, _ = refined(HeadSurface(Said()))
    middle = (grid.rows // 2, grid.cols // 2)
    np.testing.assert_allclose(normal[middle], (0.6, 0, 0.8), atol=0.01)
    np.testing.assert_allclose(source.level[middle], np.exp(-1), rtol=0.15)  # the ridge toward a usual room
    assert source.confidence[middle] > 0.99
    wall = mask < 0.05
    assert (source.confidence[wall] == 0).all()
    np.testing.assert_allclose(source.level[wall], 1, atol=1e-3)


def test_where_it_is_not_sure_nothing_changes() -> None:
    """Without confidence the surface is the engine's to float32, so it is what it was without a network."""
    surface, _, normal, source, _, _ = refined(HeadSurface(Said(confidence=0.0)))
    np.testing.assert_allclose(normal, surface.normal, atol=1e-5)
    np.testing.assert_allclose(source.level, 1, atol=1e-3)
    assert (source.confidence == 0).all()


def test_its_light_is_kept_within_bounds() -> None:
    """An answer beyond reason is cut, so that a gain cannot run away."""
    _, _, _, source, _, _ = refined(HeadSurface(Said(light=50.0)))
    assert np.isfinite(source.level).all()
    assert source.level.max() <= 1.1 * np.exp(BRIGHTEST)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_light_is_one_that_the_normals_explain(side: float) -> None:
    """A lamp at one side is found on a ball of normals, though a dark patch of paint is taken for shadow."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j] * 0.8
    normal = np.dstack([x, -y, np.sqrt(np.maximum(1 - x * x - y * y, 0.04))]).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    lamp = sh_from_directional((side * 0.8, 0, 0.6), (1.0, 1.0, 1.0))
    shade = irradiance_over_pi(lamp, normal)[..., 0] + 0.15
    shade = shade / shade.mean()
    painted = shade.copy()
    painted[5 * SIDE // 12 : 13 * SIDE // 24, 5 * SIDE // 16 : 11 * SIDE // 16] *= 0.3
    said = HeadLayers(normal, np.log(painted).astype(np.float32), np.ones((SIDE, SIDE), np.float32))
    fit = fitted_light(said, said.confidence)
    found = sh_basis(normal.reshape(-1, 3)) @ fit.coefficients
    expected = shade.ravel()
    assert np.corrcoef(found, expected)[0, 1] > 0.97
    assert abs(np.log(found.mean())) < 0.15


def test_a_broad_shadow_is_kept_and_a_narrow_patch_is_not() -> None:
    """Half of an evenly lit surface in shadow is more than an order-2 light can say; a dark patch of lips is paint."""
    normal = np.zeros((SIDE, SIDE, 3), np.float32)
    normal[..., 2] = 1
    log, everywhere = np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)
    log[:, : SIDE // 2] = -1.2
    log[60:64, 66:78] = -1.2
    light, shadow = fitted_light(HeadLayers(normal, log, everywhere), everywhere)
    level = float(sh_basis(normal[0, 0]) @ light) * shadow
    assert np.log(level[40, 70] / level[40, 20]) == pytest.approx(1.2, abs=0.3)
    assert level[62, 72] > 0.75 * level[40, 72]


def test_the_light_is_steady_in_time() -> None:
    """Another answer moves the light by what a third of a second allows, and no faster."""
    head = HeadSurface(Said(light=-1.0))
    *_, first, grid, _ = refined(head)
    head._network = Said(light=0.0)
    *_, second, _, _ = refined(head)
    *_, third, _, _ = refined(head)
    middle = grid.rows // 2, grid.cols // 2
    assert first.level[middle] == pytest.approx(second.level[middle], abs=1e-3)
    assert third.level[middle] == pytest.approx(first.level[middle], abs=0.02)  # no time has passed


def test_it_is_asked_now_and_then() -> None:
    """Between two looks the answer is kept, in the square that moves with the face; more looks while it grows."""
    said = Said()
    head = HeadSurface(said)
    for k in range(2 * STILL_EVERY):
        refined(head, shift_px=float(k))
    assert said.calls == 2
    head.reset()
    refined(head)
    assert said.calls == 3


@pytest.mark.skipif(not WEIGHTS.exists(), reason="the package has no surface weights")
def test_the_packages_weights_give_a_surface() -> None:
    """Unit normals that face the viewer, confidence within 0 and 1, on a picture as uint8."""
    _, _, normal, source, _, _ = refined(HeadSurface(SurfaceNetwork()))
    np.testing.assert_allclose(np.linalg.norm(normal, axis=2), 1, atol=1e-3)
    assert normal[..., 2].min() > 0
    assert 0 <= source.confidence.min() <= source.confidence.max() <= 1
