"""On the sample portrait, whose eyes are turned by a known warp, the network and the driver's gaze find that turn."""

import cv2
import numpy as np
import pytest

from engine.avatar.eyes import PortraitEyes
from engine.avatar.gaze import BALL_CM, angles_of, viewing_direction
from engine.avatar.iris import iris_finder
from engine.avatar.warp import remap
from lcvd.tracking.mesh import MeshTracker

ZOOM = 2.0  # the portrait's eyes are small


@pytest.mark.parametrize("step", [-5.0, 5.0])
def test_turned_eyes_are_found_turned(portrait: np.ndarray, step: float) -> None:
    """Irises moved by 5 px are found at about the angle that 5 px are on the eyeball, and at the same height."""
    rgb = cv2.resize(portrait, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    tracker, network = MeshTracker(), iris_finder()()
    assert network is not None
    for index in range(4):
        face = tracker.track(rgb, index / 30)
    assert face is not None
    eyes = PortraitEyes(rgb, face, network)
    assert eyes.reason == ""
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]].astype(np.float32) + np.float32(0.5)
    uv_map = np.dstack([x, y])
    eyes.warp(uv_map, face, np.array([step, 0], np.float32))
    turned = remap(rgb, uv_map)
    expected = step / (BALL_CM * face.scale_px_per_cm)
    for eye in (0, 1):
        before, after = (
            angles_of(viewing_direction(network(picture, face.vertices_px, eye), face)) for picture in (rgb, turned)
        )
        assert 0.5 < (after - before)[0] / expected < 1.4
        assert abs((after - before)[1]) < 0.08


def test_without_its_file_portraits_keep_their_gaze(tmp_path, monkeypatch) -> None:
    """Where the network's file cannot be had the finder gives None, and looks for it once."""
    from engine.avatar import iris
    from lcvd.errors import ModelUnavailable

    calls = []

    def missing(*args, **kwargs):
        calls.append(args)
        raise ModelUnavailable("not there", hint="none")

    monkeypatch.setattr(iris, "model_path", missing)
    make = iris.iris_finder(tmp_path)
    assert make() is None
    assert make() is None
    assert len(calls) == 1
