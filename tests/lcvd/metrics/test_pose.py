"""Pose and expression differences of faces whose motion is known."""

import numpy as np
import pytest

from lcvd.errors import ShapeError
from lcvd.face.geometry import face_mesh
from lcvd.metrics.expression import Expression, rms_mm
from lcvd.metrics.metric import Missing, Score
from lcvd.metrics.pose import Pose, angle_deg
from tests.lcvd.metrics.synthetic_pairs import face_at, pair, request, turned

BLANK = np.zeros((8, 8, 3), np.uint8)


def run(metric, faces) -> Score:  # type: ignore[no-untyped-def]
    for i, (a, b) in enumerate(faces):
        metric.update(pair(i, BLANK, BLANK, a, b))
    score = metric.result()
    assert isinstance(score, Score)
    return score


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.5, 37.0, 179.5, 180.0])
def test_angle_between_rotations(angle: float) -> None:
    """The angle of a turn about any axis, from a ten-thousandth of a degree to a half turn, in float64."""
    base = turned(25, 10)
    assert angle_deg(turned(angle) @ base, base) == pytest.approx(angle, abs=1e-9)
    assert angle_deg(turned(0, -angle) @ base, base) == pytest.approx(angle, abs=1e-9)


def test_pose_is_the_mean_angle() -> None:
    """Differences of 3 and 5 degrees: 4 on average, 5 at worst."""
    score = run(Pose(request()), [(face_at(turned(13)), face_at(turned(10))), (face_at(turned(5)), face_at(turned(0)))])
    assert score.value == pytest.approx(4, abs=1e-3)
    assert score.details["worst"] == pytest.approx(5, abs=1e-3)
    assert score.details["std"] == pytest.approx(1, abs=1e-3)


def test_a_portrait_with_its_own_pose_keeps_the_motion() -> None:
    """Turned 20 degrees more in every frame: absolute 20, relative 0."""
    faces = [(face_at(turned(yaw + 20)), face_at(turned(yaw))) for yaw in (0, 4, -7)]
    score = run(Pose(request()), faces)
    assert score.value == pytest.approx(20, abs=1e-3)
    assert score.details["relative_deg"] == pytest.approx(0, abs=1e-3)


def test_lost_and_held_faces_do_not_count() -> None:
    """Only frames where both faces were seen are measured, and none is reported."""
    metric = Pose(request())
    for i, (a, b) in enumerate([(None, face_at()), (face_at(), None), (face_at(held=True), face_at())]):
        metric.update(pair(i, BLANK, BLANK, a, b))
    assert isinstance(metric.result(), Missing)


def test_expression_is_the_rms_displacement_in_mm() -> None:
    """Every vertex 2 mm away: 2 mm; half of the vertices: √2 mm."""
    mesh = face_mesh()
    moved = np.zeros_like(mesh.neutral)
    moved[:, 0] = 0.2
    assert rms_mm(moved, np.zeros_like(moved)) == pytest.approx(2, rel=1e-6)
    moved[::2] = 0
    assert rms_mm(moved, np.zeros_like(moved)) == pytest.approx(np.sqrt(2), rel=1e-6)
    score = run(Expression(request()), [(face_at(expression=moved), face_at())] * 2)
    assert score.value == pytest.approx(np.sqrt(2), rel=1e-5)
    assert score.details["relative_mm"] == pytest.approx(0, abs=1e-6)


def test_expression_ignores_pose_and_size() -> None:
    """The same smile on a turned, smaller head is the same smile."""
    smile = np.zeros_like(face_mesh().neutral)
    smile[61] = smile[291] = 0.4
    assert (
        run(Expression(request()), [(face_at(turned(30), scale=4, expression=smile), face_at(expression=smile))]).value
        == 0
    )


def test_expressions_of_two_meshes_are_refused() -> None:
    """MediaPipe's vertices are not FLAME's."""
    with pytest.raises(ShapeError, match="5023"):
        rms_mm(np.zeros((468, 3), np.float32), np.zeros((5023, 3), np.float32))
