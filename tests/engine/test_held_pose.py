"""The portrait's pose follows the driver, and is held and resumed without a jump around a loss."""

from dataclasses import replace

import numpy as np

from engine.held_pose import EASE_S, HeldPose
from lcvd.face.neutral import centred_face
from lcvd.types import Face

REST = centred_face((64, 64))


def shifted(dx_px: float, held: bool = False) -> Face:
    return replace(REST, vertices_px=REST.vertices_px + np.float32(dx_px), held=held)


def shift_of(face: Face) -> float:
    return float((face.vertices_px - REST.vertices_px).mean())


def test_without_a_face_the_portrait_rests() -> None:
    """Before the first face the portrait keeps its own pose."""
    assert shift_of(HeldPose(REST, lambda face: face).at(None, 0.0)) == 0


def test_a_seen_face_moves_at_once() -> None:
    """Nothing is smoothed while the driver is seen from the start."""
    pose = HeldPose(REST, lambda face: face)
    assert [round(shift_of(pose.at(shifted(x), x / 25)), 3) for x in (0, 5, -5)] == [0, 5, -5]


def test_a_loss_holds_and_the_return_is_smooth() -> None:
    """A lost or bridged face holds the last pose; a return moves to the new one over EASE_S without a jump."""
    pose = HeldPose(REST, lambda face: face)
    pose.at(shifted(4), 0.0)
    assert shift_of(pose.at(None, 0.1)) == 4
    assert shift_of(pose.at(shifted(30, held=True), 0.2)) == 4
    path = [shift_of(pose.at(shifted(24), 1.0 + i * EASE_S / 10)) for i in range(15)]
    assert path[0] == 4
    assert np.allclose(path[10:], 24)
    steps = np.diff(path[:11])
    assert (steps > 0).all()
    assert steps.max() < 0.2 * 20


def test_a_second_loss_in_the_middle_of_a_return_does_not_jump() -> None:
    """The shown pose is held, and the next return starts from it."""
    pose = HeldPose(REST, lambda face: face)
    pose.at(shifted(0), 0.0)
    pose.at(None, 0.1)
    pose.at(shifted(20), 0.2)
    middle = shift_of(pose.at(shifted(20), 0.2 + EASE_S / 2))
    assert 5 < middle < 15
    assert shift_of(pose.at(None, 0.35)) == middle
    assert shift_of(pose.at(shifted(20), 0.5)) == middle
