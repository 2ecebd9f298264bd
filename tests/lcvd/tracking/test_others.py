"""lcvd.tracking.others: further faces are found, keep their numbers, and are dropped when they are somebody else."""

import numpy as np
import pytest

from lcvd.face.neutral import centred_face
from lcvd.tracking.crop import Roi, roi_around
from lcvd.tracking.detector import Detection
from lcvd.tracking.others import MOST, OtherFaces

RGB = np.zeros((240, 640, 3), np.uint8)
POINTS = centred_face((120, 120)).vertices_px  # 40 px wide, its middle at (60, 60)
MAIN = POINTS + np.array([500, 60, 0], np.float32)


def at(x: float, y: float = 120.0) -> np.ndarray:
    return POINTS + np.array([x - 60, y - 60, 0], np.float32)


def detection(x: float, y: float = 120.0, width: float = 40.0) -> Detection:
    eyes = np.array([[x - 8, y], [x + 8, y]], np.float32)
    return Detection(x, y, width, width, eyes, 0.9)


class Scene:
    """A landmark network that finds the face whose middle lies in the square."""

    def __init__(self, *people: float) -> None:
        self.people = list(people)

    def __call__(self, rgb: np.ndarray, roi: Roi):
        near = [x for x in self.people if abs(x - roi.x_px) < roi.size_px / 2]
        if not near:
            return None
        points = at(min(near, key=lambda x: abs(x - roi.x_px)))
        return points, 0.95, roi_around(points, 0.0)


def test_faces_are_followed_by_number() -> None:
    """Both further faces are told, the main one is not, and each keeps its number while it moves."""
    scene = Scene(100.0, 300.0, 560.0)
    others = OtherFaces(scene, None)
    others.adopt(RGB, [detection(100), detection(300), detection(560)], MAIN)
    first = others.track(RGB, 0.0, MAIN)
    assert sorted(face.vertices_px[:, 0].mean() for face in first.values()) == pytest.approx([100, 300], abs=1)
    scene.people = [108.0, 292.0, 560.0]
    others.adopt(RGB, [detection(108), detection(292)], MAIN)
    second = others.track(RGB, 0.04, MAIN)
    assert second.keys() == first.keys()
    assert all(abs(second[n].vertices_px[0, 0] - first[n].vertices_px[0, 0]) == pytest.approx(8) for n in first)


def test_a_face_that_goes_is_dropped_and_comes_as_another() -> None:
    """Without a face in its square a number ends; a later face has a new one."""
    scene = Scene(100.0)
    others = OtherFaces(scene, None)
    others.adopt(RGB, [detection(100)], MAIN)
    (number,) = others.track(RGB, 0.0, MAIN)
    scene.people = []
    assert others.track(RGB, 0.04, MAIN) == {}
    scene.people = [100.0]
    assert others.track(RGB, 0.08, MAIN) == {}
    others.adopt(RGB, [detection(100)], MAIN)
    assert number not in others.track(RGB, 0.12, MAIN)


def test_two_squares_never_follow_one_face() -> None:
    """A square that slid onto the main face, or onto another followed one, is given up."""
    scene = Scene(460.0)
    others = OtherFaces(scene, None)
    others.adopt(RGB, [detection(460)], MAIN)
    assert len(others.track(RGB, 0.0, MAIN)) == 1
    scene.people = [545.0]
    others._followed[0].roi = detection(545).roi()
    assert others.track(RGB, 0.04, MAIN) == {}


def test_a_crowd_is_bounded() -> None:
    """However many faces there are, no more than MOST are followed: the widest."""
    xs = [40.0, 120.0, 200.0, 280.0, 360.0]
    others = OtherFaces(Scene(*xs), None)
    others.adopt(RGB, [detection(x, width=36 + i) for i, x in enumerate(xs)], MAIN)
    found = others.track(RGB, 0.0, MAIN)
    assert len(found) == MOST
    assert min(face.vertices_px[:, 0].mean() for face in found.values()) > 150
