"""Faces that speak, laugh and turn, of people of any shape, as a tracker would give them; made of the neutral mesh."""

from dataclasses import dataclass

import numpy as np

from lcvd.face.calm import CHIN_BACK, CHIN_DOWN
from lcvd.face.geometry import face_mesh
from lcvd.types import Face, FloatArray

MESH = face_mesh()
LOWER = (95, 88, 178, 87, 14, 317, 402, 318, 324)  # inner rim of the lower lip, without the corners
UPPER = (191, 80, 81, 82, 13, 312, 311, 310, 415)
LIPS = np.unique(np.concatenate([MESH.regions["lips"], MESH.regions["inner_lips"]]))
Y_DOWN = np.array([1, -1, 1], np.float32)


@dataclass(frozen=True)
class Person:
    """A person: how far the neutral mesh is stretched (bones too), and how far up the mouth sits."""

    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    mouth_up_cm: float = 0.0
    scale: float = 16.0  # px per cm, the distance from the camera

    def shape(self, open_cm: float = 0.0, smile: float = 0.0, lids: float = 1.0) -> FloatArray:
        """Return the canonical shape [468,3]: lips `open_cm` apart, wider by the share `smile`, lids at `lids`."""
        shape = MESH.neutral * np.array(self.stretch, np.float32)
        below = np.clip((-1.5 - MESH.neutral[:, 1]) / 1.5, 0, 1)
        shape[:, 1] += self.mouth_up_cm * below
        jaw = np.clip(MESH.neutral[:, 1] / MESH.neutral[152, 1], 0, 1) ** 3
        shape[:, 1] -= CHIN_DOWN * open_cm * jaw
        shape[:, 2] -= CHIN_BACK * open_cm * jaw
        under = [v for v in LIPS if MESH.neutral[v, 1] < MESH.neutral[78, 1] and v not in UPPER]
        shape[under, 1] -= open_cm * (1 - CHIN_DOWN * jaw[under])
        shape[LIPS, 0] *= 1 + smile
        for upper, lower in ((159, 145), (386, 374), (158, 153), (385, 380), (160, 144), (387, 373)):
            shape[upper] = shape[lower] + lids * (shape[upper] - shape[lower])
        return shape

    def face(
        self, t_s: float, open_cm: float = 0.0, smile: float = 0.0, lids: float = 1.0, yaw_deg: float = 0.0,
        at_px: tuple[float, float] = (160.0, 120.0),
    ) -> Face:  # fmt: skip
        """Return the Face at `t_s`, as of a tracker that takes everybody for the mean neutral face."""
        shape = self.shape(open_cm, smile, lids)
        c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
        rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
        place = np.array([*at_px, 0], np.float32)
        vertices = (self.scale * shape @ rotation.T * Y_DOWN + place).astype(np.float32)
        neutral = MESH.neutral
        return Face(t_s, MESH, vertices, rotation, place, self.scale, neutral, shape - neutral, 1.0)


ANNA = Person()
BERT = Person((1.08, 0.9, 1.1), mouth_up_cm=0.8)


def lip_gap_cm(face: Face) -> float:
    """Return how far apart the middles of the lips are."""
    shape = face.identity + face.expression
    return float(shape[13, 1] - shape[14, 1])


def lips_off_cm(face: Face, other: Face) -> float:
    """Return the mean distance of two faces' lips in cm."""
    a, b = (f.identity + f.expression for f in (face, other))
    return float(np.linalg.norm((a - b)[LIPS], axis=1).mean())
