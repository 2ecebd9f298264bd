"""The second tracker: its choices by a fake package, its points by the real one where an interpreter has it.

mediapipe 0.10.21 needs numpy < 2 and cannot live in this environment: RELIGHT_MEDIAPIPE_PYTHON names a Python that has
it (docs/tracking.md), and the comparison runs there.
"""

import os
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import cv2
import numpy as np
import pytest

from lcvd.errors import ModelUnavailable
from lcvd.face.geometry import face_mesh
from lcvd.tracking.mediapipe import MediaPipeTracker
from lcvd.tracking.mesh import MeshTracker

ROOT = Path(__file__).resolve().parents[3]
SIZE = (640, 480)
RUN_THERE = """
import sys, numpy as np
from lcvd.tracking.mediapipe import MediaPipeTracker
data = np.load(sys.argv[1])
tracker = MediaPipeTracker(smoothing=None)
faces = [tracker.track(frame, float(t)) for frame, t in zip(data["frames"], data["times"])]
np.savez(sys.argv[2], points=[f.vertices_px for f in faces], rotation=[f.rotation for f in faces])
"""


class FakeMesh:
    """`solutions.FaceMesh` that answers with prepared faces."""

    def __init__(self, **options):
        self.options = options
        self.answers = []

    def process(self, rgb):
        return types.SimpleNamespace(multi_face_landmarks=self.answers)

    def close(self):
        self.closed = True


def landmarks_at(x, y, width):
    """A frontal canonical face `width` px wide at (x, y) in the package's units."""
    points = face_mesh().neutral * (width / 13.9) * (1, -1, -1) + (x, y, 0)
    normal = points / (SIZE[0], SIZE[1], SIZE[0])
    row = [types.SimpleNamespace(x=p[0], y=p[1], z=p[2]) for p in normal]
    return types.SimpleNamespace(landmark=[*row, *row[:10]])  # ten irises, as the 478-point model has


@pytest.fixture
def faked(monkeypatch):
    """A tracker on the fake package, and the fake."""
    mesh = FakeMesh()
    module = types.ModuleType("mediapipe")
    module.solutions = types.SimpleNamespace(face_mesh=types.SimpleNamespace(FaceMesh=lambda **options: mesh))
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    return MediaPipeTracker(smoothing=None), mesh


def frame():
    return np.zeros((SIZE[1], SIZE[0], 3), np.uint8)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    """The missing extra is a ModelUnavailable with the pip command."""
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ModelUnavailable) as caught:
        MediaPipeTracker()
    assert ".[mediapipe]" in caught.value.hint


def test_without_the_model_of_the_tasks_api_the_error_says_where_to_put_it(monkeypatch, tmp_path):
    """A package without `solutions` needs face_landmarker.task, and says so."""
    module = types.ModuleType("mediapipe")
    module.__spec__ = ModuleSpec("mediapipe", None)
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    with pytest.raises(ModelUnavailable, match=r"face_landmarker\.task"):
        MediaPipeTracker(cache_dir=tmp_path, download=False)


def test_normalised_landmarks_become_pixels_and_a_pose(faked):
    """A frontal face of 139 px gives 10 px per cm, no rotation and the nose before the ears."""
    tracker, mesh = faked
    mesh.answers = [landmarks_at(300, 200, 139)]
    face = tracker.track(frame(), 0.0)
    assert face.scale_px_per_cm == pytest.approx(10, rel=0.01)
    np.testing.assert_allclose(face.rotation, np.eye(3), atol=1e-3)
    np.testing.assert_allclose(face.translation_px[:2], (300, 200), atol=0.5)
    assert face.vertices_px.shape == (468, 3)
    assert face.vertices_px[4, 2] > face.vertices_px[234, 2]


def test_the_widest_face_is_taken_and_kept(faked):
    """The widest of two is followed, until the other is wider by half."""
    tracker, mesh = faked

    def x_of(*faces, t_s):
        mesh.answers = [landmarks_at(*f) for f in faces]
        return tracker.track(frame(), t_s).translation_px[0]

    assert x_of((150, 200, 120), (450, 200, 100), t_s=0.0) == pytest.approx(150, abs=1)
    assert x_of((150, 200, 100), (450, 200, 120), t_s=0.1) == pytest.approx(150, abs=1)
    assert x_of((150, 200, 80), (450, 200, 120), t_s=0.2) == pytest.approx(450, abs=1)


def test_a_short_loss_is_held_here_too(faked):
    """Both trackers bridge 0.3 s; closing closes the package's graph."""
    tracker, mesh = faked
    mesh.answers = [landmarks_at(300, 200, 120)]
    tracker.track(frame(), 0.0)
    mesh.answers = None
    assert tracker.track(frame(), 0.2).held
    assert tracker.track(frame(), 0.4) is None
    tracker.close()
    assert mesh.closed


def test_both_trackers_see_the_same_face(portrait, tmp_path):
    """On a moving portrait their points differ by less than 1.5 % of the face's width, their poses by under 3°."""
    interpreter = os.environ.get("RELIGHT_MEDIAPIPE_PYTHON")
    if not interpreter or not Path(interpreter).is_file():
        pytest.skip("RELIGHT_MEDIAPIPE_PYTHON names no Python that has mediapipe (docs/tracking.md)")
    frames = []
    for k in range(12):
        move = cv2.getRotationMatrix2D((225, 125), 12 * np.sin(k / 3), 1.9)
        move[:, 2] += (95 + 4 * k, 115)
        frames.append(cv2.warpAffine(portrait, move, SIZE, borderMode=cv2.BORDER_REPLICATE))
    times = np.arange(12) / 30
    np.savez(tmp_path / "in.npz", frames=frames, times=times)
    done = subprocess.run(
        [interpreter, "-c", RUN_THERE, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GLOG_minloglevel": "2"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = np.load(tmp_path / "out.npz")
    ours = MeshTracker(smoothing=None)
    faces = [ours.track(f, float(t)) for f, t in zip(frames, times, strict=True)]
    width = np.mean([f.width_px for f in faces])
    gap = np.linalg.norm((theirs["points"] - np.array([f.vertices_px for f in faces]))[..., :2], axis=-1) / width
    turns = [f.rotation.T @ r for f, r in zip(faces, theirs["rotation"], strict=True)]
    angles = np.degrees([np.arccos(np.clip((np.trace(t) - 1) / 2, -1, 1)) for t in turns])
    print(
        f"difference in face widths: mean {gap.mean():.4f}, 99 % {np.quantile(gap, 0.99):.4f}; pose {angles.max():.2f}°"
    )
    assert gap[1:].mean() < 0.015
    assert angles[1:].max() < 3
