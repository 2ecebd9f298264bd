"""The person's surface follows the mesh where there is one and continues plausibly beyond it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from engine.relighting.grid import grid_around
from engine.relighting.surface import BACKGROUND_FW, RELIEF, _halved, _outward, person_surface
from lcvd.face.geometry import picture_normals
from lcvd.face.neutral import centred_face
from tests.engine.synthetic_person import moved, person_mask

SIZE = (480, 640)


def surface(face=None):
    face = centred_face(SIZE, 0.0) if face is None else face
    grid = grid_around(face, SIZE)
    mask = grid.sample(cv2.GaussianBlur(person_mask(SIZE).astype(np.float32), (9, 9), 2))
    return person_surface(face, mask, grid), grid, face


def at(grid, x_px, y_px):
    return int((y_px - grid.y0) / grid.height * grid.rows), int((x_px - grid.x0) / grid.width * grid.cols)


def test_normals_are_unit_and_face_the_viewer():
    """Every normal has length 1 and none looks away."""
    s, _, _ = surface()
    np.testing.assert_allclose(np.linalg.norm(s.normal, axis=-1), 1, atol=1e-4)
    assert (s.normal[..., 2] > 0).all()


def test_mesh_normals_are_kept():
    """Inside the face the field follows the mesh's own normals."""
    s, grid, face = surface()
    normals = picture_normals(face.vertices_px, face.mesh.triangles)
    inside = [v for v in (10 + np.arange(400)) if v not in face.mesh.regions["face_oval"]]
    agree = []
    for v in inside:
        i, j = at(grid, *face.vertices_px[v, :2])
        agree.append(float(normals[v] @ s.normal[i, j]))
    assert np.median(agree) > 0.97


def test_contour_turns_outward():
    """At the left of the head the normal points left, at the right right, on top of it up."""
    s, grid, _ = surface()
    assert s.normal[at(grid, 320 - 96, 220)][0] < -0.5
    assert s.normal[at(grid, 320 + 95, 220)][0] > 0.5
    assert s.normal[at(grid, 320, 90)][1] > 0.5


def test_no_edge_where_the_mesh_ends():
    """Between neighbouring cells across the mesh's border the normal turns no more than elsewhere on a face."""
    s, grid, face = surface()
    oval = face.vertices_px[face.mesh.regions["face_oval"], :2]
    turn = np.arccos(np.clip((s.normal[:, 1:] * s.normal[:, :-1]).sum(-1), -1, 1))
    across = [turn[at(grid, x, y)] for x, y in oval]
    i, j = at(grid, *face.vertices_px[1, :2])
    assert np.median(across) < turn[i - 8 : i + 8, j - 8 : j + 8].max()


def test_nose_is_nearest_and_background_farthest():
    """Depth is highest at the nose, lower on the neck, and BACKGROUND_FW outside the person."""
    s, grid, face = surface()
    nose = s.depth[at(grid, *face.vertices_px[1, :2])]
    neck = s.depth[at(grid, 320, 240 + 120)]
    assert nose == pytest.approx(RELIEF * 7.5 / 13.8, abs=0.1)
    assert neck < nose - 0.3
    assert s.depth[2, 2] == pytest.approx(BACKGROUND_FW)


def test_left_and_right_mirror():
    """A symmetric person has a symmetric surface."""
    s, _, _ = surface()
    mirrored = s.normal[:, ::-1] * np.array([-1, 1, 1], np.float32)
    assert np.abs(s.normal - mirrored).mean() < 0.02


def test_rim_is_at_the_contour():
    """The rim is 1 at the head's outline and 0 in the middle of the face."""
    s, grid, _ = surface()
    assert s.rim[at(grid, 320, 240)] == 0
    assert s.rim[at(grid, 320 - 98, 220)] > 0.4


def test_uncertain_patch_has_no_rim():
    """A wide patch of half a mask, as the network draws over water, has no contour in its middle and no rim."""
    face = centred_face(SIZE, 0.0)
    grid = grid_around(face, SIZE)
    mask = cv2.GaussianBlur(person_mask(SIZE).astype(np.float32), (9, 9), 2)
    mask[100:240, :150] = 0.5
    s = person_surface(face, grid.sample(mask), grid)
    assert s.rim[at(grid, 75, 170)] == 0
    assert s.rim[at(grid, 320 + 98, 220)] > 0.4


@pytest.mark.parametrize("dx_px", [-330.0, 330.0, 5000.0])
def test_face_at_the_border_or_outside(dx_px):
    """A face partly or wholly outside the frame still gives a finite surface."""
    s, _, _ = surface(moved(centred_face(SIZE, 0.0), dx_px))
    assert all(np.isfinite(layer).all() for layer in s)


def test_tiny_and_huge_faces():
    """Faces of 14 px and of three frames' width give finite surfaces."""
    for scale in (0.1, 9.0):
        face = centred_face(SIZE, 0.0)
        centre = np.array([320, 240, 0], np.float32)
        scaled = ((face.vertices_px - centre) * scale + centre).astype(np.float32)
        s, _, _ = surface(replace(face, vertices_px=scaled, scale_px_per_cm=face.scale_px_per_cm * scale))
        assert all(np.isfinite(layer).all() for layer in s)


def test_outward_is_sobel_s_gradient_turned_round() -> None:
    """The kernel against OpenCV's filter, at an odd size too."""
    mask = cv2.GaussianBlur(np.random.default_rng(2).uniform(0, 1, (37, 24)).astype(np.float32), (0, 0), 2)
    soft = cv2.blur(mask, (3, 3), borderType=cv2.BORDER_REPLICATE)
    dx, dy = (
        cv2.Sobel(soft, cv2.CV_32F, *order, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
        for order in ((1, 0), (0, 1))
    )
    size = np.hypot(dx, dy)
    found = _outward(mask)
    np.testing.assert_allclose(found[..., :2] * np.maximum(size, 1e-4)[..., None], np.dstack((-dx, dy)), atol=1e-6)
    np.testing.assert_allclose(found[..., 2], np.minimum(5 * size, 1) ** 2, atol=1e-5)


def test_halved_is_the_mean_of_four():
    """Halving averages four cells; at odd sizes the last cell covers the remaining one."""
    field = np.random.default_rng(0).random((5, 7, 6)).astype(np.float32)
    half = _halved(field)
    assert half.shape == (3, 4, 6)
    np.testing.assert_allclose(half[1, 2], field[2:4, 4:6].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(half[2, 3], field[4, 6], rtol=1e-5)
