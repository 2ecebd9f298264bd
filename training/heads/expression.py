"""expression_basis gives the displacements [E,V,3] of jaw, smile, pucker, brows and blink at full strength, cm.

It is linear, as `Face.expression` is: a frame's expression is the weighted sum. The jaw turns about an axis through the
ears; the lower lip is found by its connection on the mesh (the slit of the mouth is a cut in its skin), not by height.
"""

from functools import cache

import numpy as np

from lcvd.face.geometry import face_mesh
from lcvd.types import FloatArray
from training.heads.shape import bell

NAMES = ("jaw", "smile", "pucker", "brows", "blink")
UPPER_INNER = (191, 80, 81, 82, 13, 312, 311, 310, 415)
LOWER_INNER = (95, 88, 178, 87, 14, 317, 402, 318, 324)
# Each eye's upper lid and, in the same order, the point of the lower lid it meets.
LIDS = (
    ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382)),
    ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155)),
)
JAW_RAD = np.radians(14.0)
HINGE = np.array([0.0, 1.0, -3.0])
LID_REACH_CM = 0.5


def expression_basis(identity: FloatArray) -> FloatArray:
    """Returns float32 [E,V,3] in the order of NAMES, for a neutral face `identity` [V,3]."""
    p = identity.astype(np.float64)
    side = np.sign(p[:, :1])
    return np.stack([_jaw(p), _smile(p, side), _pucker(p), _brows(p), _blink(p)]).astype(np.float32)


def _jaw(p: np.ndarray) -> np.ndarray:
    c, s = np.cos(JAW_RAD), np.sin(JAW_RAD)
    arm = p - HINGE
    turned = np.column_stack((arm[:, 0], c * arm[:, 1] - s * arm[:, 2], s * arm[:, 1] + c * arm[:, 2]))
    below = 1 / (1 + np.exp((p[:, 1] + 2.2) / 0.7))  # nose and cheekbones stay
    return (turned - arm) * (jaw_share() * below)[:, None]


def _smile(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    corners = bell(p, (2.5, -3.4, 4.5), (1.3, 1.1, 3.0))[:, None] * np.array([0.55, 0.6, -0.35])
    cheeks = bell(p, (3.6, -0.8, 4.0), (1.4, 1.2, 3.0))[:, None] * np.array([0.1, 0.3, 0.2])
    move = corners + cheeks
    move[:, :1] *= side
    return move


def _pucker(p: np.ndarray) -> np.ndarray:
    weight = bell(p, (0, -3.5, 5.5), (2.0, 1.0, 2.5))[:, None]
    return weight * np.column_stack((-0.3 * p[:, 0], np.zeros(len(p)), np.full(len(p), 0.5)))


def _brows(p: np.ndarray) -> np.ndarray:
    return bell(p, (3.0, 4.5, 5.0), (2.2, 0.9, 3.0))[:, None] * np.array([0.0, 0.6, 0.05])


def _blink(p: np.ndarray) -> np.ndarray:
    """Moves the upper lids onto the lower ones.

    The skin within half a centimetre above follows, the lower lid never moves.
    """
    out = np.zeros_like(p)
    for upper, lower in LIDS:
        lid, fall = p[list(upper)], 0.93 * (p[list(lower)] - p[list(upper)])
        distance = np.linalg.norm((p[:, None] - lid) * (1, 1, 0.5), axis=2)
        near = np.exp(-0.5 * np.square(distance / LID_REACH_CM))
        share = near / np.maximum(near.sum(1, keepdims=True), 1e-9)
        lid_y = np.interp(p[:, 0], *_ascending(lid[:, 0], lid[:, 1]))
        above = np.clip((p[:, 1] - lid_y) / 0.15 + 1, 0, 1)
        out += (share @ fall) * (near.max(1) * above)[:, None]
        out[list(upper)] = fall
        out[list(lower)] = 0
    return out


def _ascending(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(x)
    return x[order], y[order]


@cache
def jaw_share() -> np.ndarray:
    """Returns [V] how far each vertex moves with the jaw: 1 at the lower lip and the chin, 0 above the mouth.

    r = up/(up + low) with the distances over the skin to the two lips, which the slit separates.
    """
    mesh = face_mesh()
    triangles = mesh.triangles[mesh.skin_triangles]
    edges = np.concatenate((triangles[:, :2], triangles[:, 1:], triangles[:, ::2]))
    edges = np.concatenate((edges, edges[:, ::-1]))
    lengths = np.linalg.norm(mesh.neutral[edges[:, 0]] - mesh.neutral[edges[:, 1]], axis=1)
    up, low = (_distance(edges, lengths, lips, len(mesh.neutral)) for lips in (UPPER_INNER, LOWER_INNER))
    t = np.clip((up / np.maximum(up + low, 1e-9) - 0.38) / 0.24, 0, 1)
    return t * t * (3 - 2 * t)


def _distance(edges: np.ndarray, lengths: np.ndarray, start: tuple[int, ...], count: int) -> np.ndarray:
    """Returns the shortest way along edges from any of `start`, [V].

    It is Bellman-Ford, since the mesh is small and this runs once.
    """
    out = np.full(count, np.inf)
    out[list(start)] = 0
    while True:
        better = out.copy()
        np.minimum.at(better, edges[:, 1], out[edges[:, 0]] + lengths)
        if np.array_equal(better, out):
            return out
        out = better
