"""lcvd.motion: both alignments on both kinds of face, and nothing of the driver's identity in the result."""

import dataclasses

import numpy as np
import pytest

from lcvd.errors import ShapeError
from lcvd.face.geometry import face_mesh
from lcvd.motion import CodeMotion, FaceMotion, relative_code, relative_face, scaled_code, scaled_face
from lcvd.tracking.deca import DecaCode, DecaCrop, face_from_code
from lcvd.tracking.flame import rodrigues
from lcvd.tracking.flame_files import load_flame
from lcvd.tracking.solver import FaceSolver
from lcvd.types import Face
from tests.lcvd.tracking.synthetic_flame import write_folder


def face(
    seed: int, *, turn=(0.0, 0.0, 0.0), scale: float = 15.0, place=(200.0, 180.0, 0.0), identity_seed=None
) -> Face:
    """A synthetic MediaPipe face that obeys Face's weak-perspective model."""
    mesh = face_mesh()
    rng = np.random.default_rng(seed)
    shape_rng = np.random.default_rng(seed if identity_seed is None else identity_seed)
    identity = (mesh.neutral + shape_rng.normal(0, 0.3, mesh.neutral.shape)).astype(np.float32)
    expression = rng.normal(0, 0.2, mesh.neutral.shape).astype(np.float32)
    rotation = rodrigues(np.array(turn)).astype(np.float32)
    translation = np.array(place, np.float32)
    vertices = scale * (identity + expression) @ rotation.T * np.array([1, -1, 1], np.float32) + translation
    return Face(0.1 * seed, mesh, vertices, rotation, translation, scale, identity, expression, 0.9, seed == 3)


def code(seed: int) -> DecaCode:
    """A synthetic DECA code."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(0, 0.5, n).astype(np.float32) for n in (100, 50, 50, 6, 3)]
    parts[4][0] = 8
    light = rng.normal(0, 1, (9, 3)).astype(np.float32)
    return DecaCode(*parts, light, DecaCrop(10.0 * seed, 5.0 * seed, 200 + seed))


REFERENCE, FIRST, DRIVER = (
    face(1, turn=(0.1, -0.2, 0.05)),
    face(2, turn=(0, 0.3, 0), scale=22, place=(300, 100, 5)),
    face(3, turn=(0.05, 0.7, 0), scale=24, place=(330, 90, 9)),
)


# MediaPipe faces


def test_relative_first_frame_is_the_reference():
    """The driver's first frame leaves the reference where it is, in every variant of the release."""
    for camera in ("reference", "follow"):
        got = relative_face(FIRST, FIRST, REFERENCE, camera=camera)
        np.testing.assert_allclose(got.vertices_px, REFERENCE.vertices_px, atol=1e-3)
        np.testing.assert_allclose(got.rotation, REFERENCE.rotation, atol=1e-6)
        np.testing.assert_allclose(got.expression, REFERENCE.expression, atol=1e-6)


def test_relative_turn_is_added():
    """A driver that turns about the vertical by 0.4 turns an upright reference by 0.4, wherever either began."""
    reference = face(1, turn=(0, -0.25, 0))
    first, driver = face(2, turn=(0, 0.3, 0)), face(3, turn=(0, 0.7, 0))
    got = relative_face(driver, first, reference)
    np.testing.assert_allclose(got.rotation, rodrigues(np.array([0, 0.15, 0])), atol=1e-6)
    tilted = relative_face(DRIVER, FIRST, REFERENCE).rotation
    np.testing.assert_allclose(tilted, DRIVER.rotation @ FIRST.rotation.T @ REFERENCE.rotation, atol=1e-6)
    np.testing.assert_allclose(tilted @ tilted.T, np.eye(3), atol=1e-6)


def test_release_and_text_differ_in_the_expression():
    """The release shifts the expression as well; the paper's text takes the driver's own."""
    release = relative_face(DRIVER, FIRST, REFERENCE)
    text = relative_face(DRIVER, FIRST, REFERENCE, expression="driver")
    np.testing.assert_allclose(
        release.expression, DRIVER.expression - FIRST.expression + REFERENCE.expression, atol=1e-6
    )
    np.testing.assert_array_equal(text.expression, DRIVER.expression)
    np.testing.assert_array_equal(text.rotation, release.rotation)


def test_camera_stays_the_reference_s():
    """Place and size are the reference's in both alignments, as published."""
    for got in (relative_face(DRIVER, FIRST, REFERENCE), scaled_face(DRIVER, REFERENCE)):
        assert got.scale_px_per_cm == REFERENCE.scale_px_per_cm
        np.testing.assert_array_equal(got.translation_px, REFERENCE.translation_px)
        np.testing.assert_array_equal(got.identity, REFERENCE.identity)
        assert got.width_px == pytest.approx(REFERENCE.width_px)


def test_camera_that_follows():
    """With camera="follow" the head wanders and grows in the reference's own measure."""
    got = relative_face(DRIVER, FIRST, REFERENCE, camera="follow")
    assert got.scale_px_per_cm == pytest.approx(15 * 24 / 22)
    np.testing.assert_allclose(got.translation_px, [200 + 30 * 15 / 22, 180 - 10 * 15 / 22, 4 * 15 / 22], rtol=1e-5)


def test_scale_consistent_takes_the_driver_s_pose():
    """Portrait-scale consistency: rotation and expression are the driver's as they are."""
    got = scaled_face(DRIVER, REFERENCE)
    np.testing.assert_array_equal(got.rotation, DRIVER.rotation)
    np.testing.assert_array_equal(got.expression, DRIVER.expression)


@pytest.mark.parametrize("mode", ["relative", "scale"])
def test_result_obeys_face_s_model(mode):
    """The vertices are what the other fields say by weak perspective; time and score are the driver's."""
    motion = FaceMotion(REFERENCE, mode, camera="follow")
    motion(FIRST)
    got = motion(DRIVER)
    posed = got.scale_px_per_cm * (got.identity + got.expression) @ got.rotation.T
    np.testing.assert_allclose(posed * [1, -1, 1] + got.translation_px, got.vertices_px, atol=1e-3)
    assert (got.t_s, got.score, got.held) == (DRIVER.t_s, DRIVER.score, DRIVER.held)


@pytest.mark.parametrize("mode", ["relative", "scale"])
@pytest.mark.parametrize("expression", ["shift", "driver"])
@pytest.mark.parametrize("camera", ["reference", "follow"])
def test_another_driver_s_identity_changes_nothing(mode, expression, camera):
    """The same motion by a person of another shape gives the same picture, bit for bit."""
    results = []
    for identity_seed in (2, 77):
        motion = FaceMotion(REFERENCE, mode, expression=expression, camera=camera, rest="first")
        first = face(2, turn=(0, 0.3, 0), scale=22, identity_seed=identity_seed)
        driver = face(3, turn=(0.05, 0.7, 0), scale=24, identity_seed=identity_seed)
        assert np.ptp(driver.vertices_px) != np.ptp(DRIVER.vertices_px)
        motion(first)
        results.append(motion(driver))
    for field in ("vertices_px", "identity", "expression", "rotation", "translation_px", "scale_px_per_cm"):
        np.testing.assert_array_equal(getattr(results[0], field), getattr(results[1], field))
    np.testing.assert_array_equal(results[0].identity, REFERENCE.identity)


def test_a_driver_at_rest_leaves_the_portrait_at_rest_while_the_tracker_learns_its_shape():
    """A broader, shorter face, quite still: the tracker's identity moves from the canonical face to it, and that is
    no motion."""
    neutral, turn = face_mesh().neutral, rodrigues(np.array([0.05, 0.1, 0])).astype(np.float32)
    broad = neutral * np.array([1.12, 0.9, 1.05], np.float32)
    points = (20 * broad @ turn.T * np.array([1, -1, 1]) + np.array([200, 180, 0])).astype(np.float32)
    solver, motion = FaceSolver(None), FaceMotion(REFERENCE)
    driven = [solver.solve(points, 1.0, i / 25) for i in range(75)]
    learnt_cm = np.linalg.norm(driven[-1].identity - driven[0].identity, axis=1).max()
    assert learnt_cm > 0.4
    for got in map(motion, driven):
        moved_px = np.linalg.norm(got.vertices_px - REFERENCE.vertices_px, axis=1)
        assert moved_px.max() / REFERENCE.scale_px_per_cm < 0.1 * learnt_cm


def test_reset_begins_again():
    """After a reset the next face is a first frame."""
    motion = FaceMotion(REFERENCE, rest="first")
    motion(FIRST)
    moved = motion(DRIVER)
    motion.reset()
    np.testing.assert_allclose(motion(DRIVER).vertices_px, REFERENCE.vertices_px, atol=1e-3)
    assert np.abs(moved.vertices_px - REFERENCE.vertices_px).max() > 5


def test_meshes_must_agree():
    """Faces of two trackers cannot be mixed."""
    other = dataclasses.replace(DRIVER, mesh=dataclasses.replace(DRIVER.mesh, name="flame-5023"))
    with pytest.raises(ShapeError, match="flame-5023"):
        scaled_face(other, REFERENCE)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (FaceMotion, {"mode": "absolute"}),
        (FaceMotion, {"camera": "free"}),
        (CodeMotion, {"rest": "last"}),
        (FaceMotion, {"rest": "last"}),
        (CodeMotion, {"expression": "both"}),
    ],
)
def test_unknown_words_are_named(kind, words):
    """A mode that does not exist is refused with the legal ones."""
    with pytest.raises(ValueError, match="use one of"):
        kind(REFERENCE if kind is FaceMotion else code(1), **words)


# DECA codes


def test_relative_code_is_the_release_s_arithmetic():
    """Pose and expression are driver − first + reference; the rest is the reference's."""
    reference, first, driver = code(1), code(2), code(3)
    got = relative_code(driver, first, reference)
    np.testing.assert_allclose(got.pose, driver.pose - first.pose + reference.pose)
    np.testing.assert_allclose(got.expression, driver.expression - first.expression + reference.expression)
    for field in ("shape", "texture", "camera", "light"):
        np.testing.assert_array_equal(getattr(got, field), getattr(reference, field))
    assert got.crop == reference.crop
    text = relative_code(driver, first, reference, expression="driver")
    np.testing.assert_array_equal(text.expression, driver.expression)
    np.testing.assert_array_equal(text.pose, got.pose)


def test_scaled_code():
    """The driver's pose and expression on the reference's shape, camera and crop."""
    reference, driver = code(1), code(3)
    got = scaled_code(driver, reference)
    np.testing.assert_array_equal(got.pose, driver.pose)
    np.testing.assert_array_equal(got.expression, driver.expression)
    np.testing.assert_array_equal(got.shape, reference.shape)
    assert got.crop == reference.crop


@pytest.mark.parametrize("mode", ["relative", "scale"])
@pytest.mark.parametrize("expression", ["shift", "driver"])
def test_another_driver_s_code_changes_nothing(mode, expression, tmp_path):
    """Shape, texture, camera, crop and light of the driver do not reach the FLAME mesh of the result."""
    write_folder(tmp_path)
    flame = load_flame(tmp_path)
    meshes = []
    for other in (False, True):
        motion = CodeMotion(code(1), mode, expression=expression, rest="first")
        for seed in (2, 3):
            drive = code(seed)
            if other:
                drive = dataclasses.replace(code(50 + seed), pose=drive.pose, expression=drive.expression)
            got = motion(drive)
        meshes.append(face_from_code(flame, got, 0.0))
    np.testing.assert_array_equal(meshes[0].vertices_px, meshes[1].vertices_px)
    np.testing.assert_array_equal(meshes[0].identity, face_from_code(flame, code(1), 0.0).identity)


def test_code_motion_in_time():
    """As published, the first code is the first frame until a reset."""
    motion = CodeMotion(code(1), rest="first")
    np.testing.assert_allclose(motion(code(2)).pose, code(1).pose, atol=1e-6)
    np.testing.assert_allclose(motion(code(3)).pose, code(3).pose - code(2).pose + code(1).pose, atol=1e-6)
    motion.reset()
    np.testing.assert_allclose(motion(code(3)).expression, code(1).expression, atol=1e-6)
