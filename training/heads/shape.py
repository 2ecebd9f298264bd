"""random_identity draws the canonical face under random, left-right symmetric deformations, [V,3] canonical cm.

Each mode pushes or spreads the face around a centre with a Gaussian weight; both sides get the mirror image, so a face
stays symmetric to the last bit up to the canonical mesh's own symmetry. Sizes are cm at one standard deviation.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lcvd.face.geometry import face_mesh, mirror_pairs
from lcvd.types import FloatArray

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Mode:
    """Describes one way faces differ: `push` moves by `amount`, `spread` stretches distances from the centre by it."""

    kind: Literal["push", "spread"]
    centre: Vector  # on the person's left, +x
    sigma: Vector  # extent of the Gaussian along each axis
    amount: Vector


WIDE = (99.0, 99.0, 99.0)
MODES: tuple[Mode, ...] = (
    Mode("spread", (0, 0, 0), WIDE, (0.045, 0, 0)),  # width of the face
    Mode("spread", (0, 0, 0), WIDE, (0, 0.035, 0)),  # its length
    Mode("spread", (0, 0, 0), WIDE, (0, 0, 0.04)),  # its depth
    Mode("push", (5.5, -5.0, 1.0), (2.5, 2.5, 4.0), (0.5, 0, 0)),  # jaw width
    Mode("push", (0, -8.5, 4.0), (3.0, 2.2, 4.0), (0, 0.45, 0.25)),  # chin height
    Mode("push", (0, -8.0, 5.0), (1.6, 1.5, 3.0), (0, 0, 0.3)),  # chin forward
    Mode("push", (4.8, 0.3, 2.5), (1.8, 1.6, 3.0), (0.28, 0, 0.28)),  # cheekbones
    Mode("push", (4.0, -3.5, 3.0), (1.8, 1.8, 3.0), (0.3, 0, 0.3)),  # full or hollow cheeks
    Mode("push", (3.0, 4.2, 5.0), (2.2, 0.9, 3.0), (0, 0, 0.22)),  # brow ridge
    Mode("push", (3.0, 4.2, 5.0), (3.0, 0.9, 3.0), (0, 0.22, 0)),  # brow height
    Mode("push", (0, 7.5, 4.0), (6.0, 2.5, 5.0), (0, 0.4, 0)),  # forehead height
    Mode("push", (0, 6.5, 4.0), (5.0, 2.0, 5.0), (0, 0, 0.3)),  # forehead slope
    Mode("push", (0, -0.8, 7.5), (1.6, 1.5, 1.6), (0, 0.3, 0)),  # nose length
    Mode("push", (0, -0.5, 7.6), (1.2, 1.6, 2.0), (0, 0, 0.4)),  # nose forward
    Mode("push", (0, 1.3, 6.5), (0.9, 1.2, 2.0), (0, 0, 0.22)),  # nose bridge
    Mode("spread", (0, -1.0, 6.5), (2.2, 1.2, 1.8), (0.13, 0, 0)),  # nose width
    Mode("spread", (3.15, 2.6, 3.5), (1.7, 1.0, 2.0), (0.05, 0.12, 0)),  # eye size
    Mode("push", (3.15, 2.6, 3.5), (1.7, 1.2, 2.0), (0.14, 0, 0)),  # eye distance
    Mode("push", (4.5, 2.6, 3.0), (0.8, 0.8, 2.0), (0, 0.12, 0)),  # eye slant
    Mode("push", (3.15, 2.6, 3.5), (1.4, 1.0, 2.0), (0, 0, 0.18)),  # deep-set eyes
    Mode("spread", (0, -3.5, 5.0), (2.6, 1.5, 3.0), (0.08, 0, 0)),  # mouth width
    Mode("spread", (0, -3.5, 5.5), (2.4, 0.8, 2.0), (0, 0.16, 0)),  # lip fullness
    Mode("push", (0, -3.5, 5.5), (3.0, 1.2, 2.5), (0, 0.2, 0)),  # mouth height
    Mode("push", (0, -3.5, 5.5), (2.4, 0.9, 2.0), (0, 0, 0.18)),  # lips forward
)
# Eyes are 20 % taller than the canonical ones: at 128 px an eye is 4 px high and must still be recognised.
EYES = Mode("spread", (3.15, 2.6, 3.5), (1.7, 1.0, 2.0), (0.08, 0.22, 0))
LIMIT = 2.2  # standard deviations; beyond it lips meet the chin and eyes the brows


def random_identity(rng: np.random.Generator) -> FloatArray:
    """Returns one person's neutral face, [V,3] canonical cm."""
    shape = _moved(face_mesh().neutral.astype(np.float64), EYES, 1.0)
    for mode in MODES:
        shape = _moved(shape, mode, float(np.clip(rng.standard_normal(), -LIMIT, LIMIT)))
    # The canonical mesh is symmetric to float32 only; make the person so in float64 before rounding once.
    mirrored = (shape * (-1, 1, 1))[mirror_pairs()]
    return ((shape + mirrored) / 2).astype(np.float32)


def bell(points: np.ndarray, centre: Vector, sigma: Vector) -> np.ndarray:
    """Returns the Gaussian weight [V] of points [V,3] around the centre or its mirror image, the nearer one."""
    folded = np.abs(points[:, 0])
    offset = np.column_stack((folded, points[:, 1:])) - (abs(centre[0]), *centre[1:])
    return np.exp(-0.5 * np.square(offset / sigma).sum(1))


def _moved(shape: np.ndarray, mode: Mode, amount: float) -> np.ndarray:
    weight = amount * bell(shape, mode.centre, mode.sigma)
    side = np.sign(shape[:, 0])
    step = np.tile(np.array(mode.amount), (len(shape), 1))
    if mode.kind == "spread":
        folded = np.column_stack((np.abs(shape[:, 0]), shape[:, 1:]))
        step *= folded - mode.centre
    step[:, 0] *= side
    return shape + weight[:, None] * step
