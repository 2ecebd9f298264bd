"""Makes the neutral Face in the middle of a frame, facing the viewer: for warm-up, sample hints and tests."""

import numpy as np

from lcvd.face.geometry import face_mesh
from lcvd.types import Face


def centred_face(size: tuple[int, int], t_s: float = 0.0) -> Face:
    """Make the face for a frame of `size` = (height, width); it is a third of the shorter side wide."""
    mesh = face_mesh()
    height, width = size
    scale = min(height, width) / 3 / float(np.ptp(mesh.neutral[:, 0]))
    centre = np.array([width / 2, height / 2, 0], np.float32)
    return Face(
        t_s=t_s,
        mesh=mesh,
        vertices_px=(mesh.neutral * np.array([scale, -scale, scale], np.float32) + centre).astype(np.float32),
        rotation=np.eye(3, dtype=np.float32),
        translation_px=centre,
        scale_px_per_cm=scale,
        identity=mesh.neutral,
        expression=np.zeros_like(mesh.neutral),
        score=1.0,
    )
