"""Encoder outputs, a MediaPipe face and a landmarker that returns given faces, for the tests of the DECA tracker."""

import numpy as np

from lcvd.face.geometry import face_mesh
from lcvd.types import Face


def numbers(seed: int = 0, scale: float = 8.0) -> np.ndarray:
    """236 plausible encoder outputs."""
    rng = np.random.default_rng(seed)
    out = rng.normal(0, 0.5, 236).astype(np.float32)
    out[200:206] = [0.1, -0.4, 0.05, 0.2, 0.02, 0]
    out[206:209] = [scale, 0.01, -0.02]
    return out


def mesh_face(t_s: float = 0.0, held: bool = False) -> Face:
    """A MediaPipe face looking straight ahead, 20 px a centimetre, at (250, 200)."""
    mesh = face_mesh()
    vertices = mesh.neutral * np.array([20, -20, 20], np.float32) + np.array([250, 200, 0], np.float32)
    return Face(
        t_s, mesh, vertices, np.eye(3, dtype=np.float32), np.array([250, 200, 0], np.float32), 20.0,
        mesh.neutral, np.zeros_like(mesh.neutral), 0.9, held,
    )  # fmt: skip


class FakeLandmarker:
    """Returns the faces it was given, and counts resets."""

    def __init__(self, *faces: Face | None) -> None:
        self.faces = list(faces)
        self.resets = self.closes = 0

    def track(self, rgb, t_s):
        return self.faces.pop(0)

    def reset(self):
        self.resets += 1

    def close(self):
        self.closes += 1
