"""lcvd.tracking.deca: the crop, the coefficients, the way back into the picture, and the choice of tracker."""

import dataclasses

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.face.geometry import mirror_pairs
from lcvd.hints import render_hints
from lcvd.lighting.sh import deca_from_sh, sh_from_deca, sh_from_directional
from lcvd.tracking import deca
from lcvd.tracking.deca import (
    CROP_PX,
    MESH_68,
    DecaCrop,
    DecaTracker,
    cut,
    deca_crop,
    face_from_code,
    landmarks_68,
    make_tracker,
    split_code,
)
from lcvd.tracking.flame import project
from lcvd.tracking.flame_files import load_flame
from lcvd.types import Background, Lighting
from tests.lcvd.tracking.synthetic_deca import FakeLandmarker, mesh_face, numbers
from tests.lcvd.tracking.synthetic_flame import write_folder

CROP = DecaCrop(left=40.5, top=12.25, size=380)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the synthetic FLAME files and no deca_model.tar."""
    out = tmp_path_factory.mktemp("deca")
    write_folder(out)
    return out


@pytest.fixture(scope="module")
def flame(folder):
    """The synthetic head."""
    return load_flame(folder)


# The crop


def test_box_of_68_points():
    """The square's side is 1.25 × 1.1 × the mean of the box's sides, whole pixels, around its middle."""
    points = np.array([[100, 50], [220, 60], [150, 210]], float)
    assert deca_crop(points) == DecaCrop(160 - 192 / 2, 130 - 192 / 2, int((120 + 160) / 2 * 1.1 * 1.25))


def test_cut_is_bilinear_at_the_published_points():
    """Crop pixel i shows the frame at left + i·size/223, black outside: the definition, pixel by pixel."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (60, 70, 3), np.uint8)
    crop = DecaCrop(left=-7.5, top=20.25, size=61)
    got = cut(rgb, crop)
    assert (got.shape, got.dtype) == ((3, CROP_PX, CROP_PX), np.float32)

    def at(row: int, column: int) -> np.ndarray:
        return rgb[row, column] / 255 if 0 <= row < 60 and 0 <= column < 70 else np.zeros(3)

    for i, j in [(0, 0), (5, 40), (100, 28), (147, 29), (150, 200), (223, 223), (3, 223)]:
        x, y = -7.5 + j * 61 / 223, 20.25 + i * 61 / 223
        column, row = int(np.floor(x)), int(np.floor(y))
        u, v = x - column, y - row
        top = (1 - u) * at(row, column) + u * at(row, column + 1)
        bottom = (1 - u) * at(row + 1, column) + u * at(row + 1, column + 1)
        np.testing.assert_allclose(got[:, i, j], (1 - v) * top + v * bottom, atol=1e-6)


def test_cut_equals_skimage():
    """DECA cuts with skimage's similarity and warp; ours are the same pixels."""
    transform = pytest.importorskip("skimage.transform", reason="pip install scikit-image")
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (120, 90, 3), np.uint8)
    crop = DecaCrop(left=-13.5, top=9.75, size=130)
    x, y, s = crop.left, crop.top, crop.size
    form = transform.estimate_transform(
        "similarity", np.array([[x, y], [x, y + s], [x + s, y]]), np.array([[0, 0], [0, 223], [223, 0]])
    )
    wanted = transform.warp(rgb / 255, form.inverse, output_shape=(224, 224))
    np.testing.assert_allclose(cut(rgb, crop).transpose(1, 2, 0), wanted, atol=2e-6)


@pytest.mark.parametrize("points", [np.zeros((68, 2)), np.full((68, 2), np.nan), np.zeros(68)])
def test_no_box_is_an_error(points):
    """Points that span nothing, are not finite or are no points are refused."""
    with pytest.raises(ShapeError):
        deca_crop(points)


def test_68_points_of_the_mesh():
    """The mesh's 68 points are mirror images of each other where the scheme says so, and in their anatomical order."""
    mirrored = (
        *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
    )  # fmt: skip
    pairs = mirror_pairs()
    assert [pairs[v] for v in MESH_68] == [MESH_68[k] for k in mirrored]
    points = landmarks_68(mesh_face())
    assert (np.diff(points[:17, 0]) > 0).all()  # the jaw, from picture left to right
    assert points[:, 1].argmax() == 8  # the chin is lowest (y down)
    assert points[17:27, 1].max() < points[36:48, 1].min() < points[33, 1] < points[48:68, 1].min()
    assert points[36:42, 0].max() < points[30, 0] < points[42:48, 0].min()


# Coefficients and the way back


def test_parts_in_order():
    """236 numbers are shape, texture, expression, pose, camera and nine RGB triples of light."""
    code = split_code(np.arange(236, dtype=np.float32), CROP)
    ends = [code.shape[-1], code.texture[-1], code.expression[-1], code.pose[-1], code.camera[-1], code.light[-1, -1]]
    assert ends == [99, 149, 199, 205, 208, 235]
    assert code.light.shape == (9, 3)
    assert code.light[1].tolist() == [212, 213, 214]
    with pytest.raises(ShapeError, match="159"):
        split_code(np.zeros(159, np.float32), CROP)


def test_vertices_go_back_as_deca_does(folder):
    """DECA's own way (skin, project, to crop pixels, back by the inverse similarity) gives the same vertices."""
    flame = load_flame(folder, np.float64)
    code = split_code(numbers(3), CROP)
    face = face_from_code(flame, code, 0.5, 0.8)
    vertices = flame.vertices(code.shape.astype(float), code.expression.astype(float), code.pose.astype(float))
    flat = project(vertices, code.camera.astype(float))
    crop_px = (flat[:, :2] * 0.5 + 0.5) * 224
    wanted = crop_px * CROP.size / 223 + [CROP.left, CROP.top]
    np.testing.assert_allclose(face.vertices_px[:, :2], wanted, atol=1e-3)
    np.testing.assert_allclose(face.vertices_px[:, 2], flat[:, 2] * 112 * CROP.size / 223, atol=1e-3)
    assert (face.t_s, face.score, face.held) == (0.5, 0.8, False)


def test_face_explains_its_vertices(flame):
    """vertices = scale · rotation @ (identity + expression), y flipped, + translation: what Face promises."""
    face = face_from_code(flame, split_code(numbers(4), CROP), 0.0)
    posed = face.scale_px_per_cm * (face.identity + face.expression) @ face.rotation.T
    np.testing.assert_allclose(posed * [1, -1, 1] + face.translation_px, face.vertices_px, atol=1e-3)
    np.testing.assert_allclose(face.rotation @ face.rotation.T, np.eye(3), atol=1e-6)
    assert 100 < face.width_px < 300


def test_identity_is_the_shape_alone(flame):
    """The same shape in another pose and expression has the same identity."""
    first, second = numbers(5), numbers(6)
    second[:100] = first[:100]
    faces = [face_from_code(flame, split_code(n, CROP), 0.0) for n in (first, second)]
    np.testing.assert_array_equal(faces[0].identity, faces[1].identity)
    assert np.abs(faces[0].expression - faces[1].expression).max() > 1e-3


def test_deca_light_lights_the_hint(flame):
    """A DECA light from picture left makes the left half of the FLAME hint brighter, and the hint spares the eyes."""
    code = split_code(numbers(7), CROP)
    code = dataclasses.replace(code, pose=np.zeros(6, np.float32))
    light = deca_from_sh(sh_from_directional((-1, 0, 0.5), (0.8, 0.8, 0.8)))
    face = face_from_code(flame, code, 0.0)
    lighting = Lighting("deca", (0, 0, 0), (), sh_from_deca(light), background=Background("keep"))
    hints = render_hints(face, lighting, (420, 460))
    columns = np.flatnonzero(hints.mask.any(0))
    middle = (columns[0] + columns[-1]) // 2
    left, right = hints.rgb[:, :middle][hints.mask[:, :middle]], hints.rgb[:, middle:][hints.mask[:, middle:]]
    assert left.mean() > 1.5 * right.mean()
    assert not hints.rgb[~hints.mask].any()
    rows = np.flatnonzero(hints.mask.any(1))
    inside = hints.mask[rows[0] : rows[-1], columns[0] : columns[-1]]
    assert (~inside[inside.shape[0] // 4 : inside.shape[0] // 2]).any()  # eye holes


# The tracker


def test_tracker_follows_the_landmarker(flame, folder):
    """A seen face is cut, encoded and posed; a held one is the last one held; a lost one is None; reset forgets."""
    seen = []

    def encoder(crops):
        seen.append(crops.copy())
        return numbers(8)[None]

    landmarker = FakeLandmarker(mesh_face(), mesh_face(held=True), None, mesh_face(held=True))
    tracker = DecaTracker(folder, landmarker=landmarker, flame=flame, encoder=encoder)
    rgb = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    first = tracker.track(rgb, 1.0)
    assert first.mesh is flame.mesh
    assert first.t_s == 1.0
    np.testing.assert_array_equal(seen[0][0], cut(rgb, deca_crop(landmarks_68(mesh_face()))))
    np.testing.assert_allclose(tracker.light(), sh_from_deca(numbers(8)[209:].reshape(9, 3)))
    held = tracker.track(rgb, 1.04)
    assert (held.held, held.t_s, len(seen)) == (True, 1.04, 1)
    np.testing.assert_array_equal(held.vertices_px, first.vertices_px)
    assert tracker.track(rgb, 1.5) is None
    assert tracker.light() is None
    assert tracker.track(rgb, 1.6) is not None  # nothing of ours to hold: encode it
    tracker.reset()
    tracker.close()
    assert (landmarker.resets, landmarker.closes, tracker.code) == (1, 1, None)


def test_tracker_names_missing_files(folder):
    """Without deca_model.tar the constructor says so and where it is to be had."""
    with pytest.raises(ModelUnavailable, match=r"lacks deca_model.tar") as error:
        DecaTracker(folder, landmarker=FakeLandmarker())
    assert "DECA" in error.value.hint


def test_choice_of_tracker(monkeypatch, folder, tmp_path):
    """No folder, a folder that lacks files, or no torch: the MediaPipe mesh, and the note says why."""
    import lcvd.tracking.mesh

    monkeypatch.setattr(lcvd.tracking.mesh, "MeshTracker", FakeLandmarker)
    for where, why in ((None, "no DECA folder"), (tmp_path / "absent", "not a directory"), (folder, "deca_model.tar")):
        tracker, note = make_tracker(where)
        assert isinstance(tracker, FakeLandmarker)
        assert "MediaPipe" in note
        assert why in note
    (tmp_path / "full").mkdir()
    write_folder(tmp_path / "full")
    (tmp_path / "full" / "deca_model.tar").write_bytes(b"x")
    monkeypatch.setattr(deca.importlib.util, "find_spec", lambda name: None)
    tracker, note = make_tracker(tmp_path / "full")
    assert isinstance(tracker, FakeLandmarker)
    assert "pip install -e '.[lcvd]'" in note
