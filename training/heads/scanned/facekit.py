"""FaceKit holds the numbers of ICT-FaceKit's light model: a neutral head, components of identity and expressions.

Source: Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020; github ICT-VGL/ICT-FaceKit, MIT.
Canonical cm: +x the person's left, +y up, +z out of the face. The file is an .npz with the arrays `neutral` [V,3],
`quads` [Q,4] (−1 in a triangle's last place), `identity` [100,V,3], `expression` [E,V,3] and `expression_names` [E].
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray
from training.errors import DataError

# Vertex ranges of the kit (README of the model): what lies behind EYES (tear fluid, lashes) is not drawn.
FACE, HEAD, SOCKETS = slice(0, 9409), slice(9409, 11248), slice(11248, 14062)
TEETH, EYES = slice(14062, 21451), slice(21451, 24591)  # gums and tongue first
DRAWN = EYES.stop
# Multi-PIE's 68 landmarks as vertices of the kit.
LANDMARKS = np.array(
    [1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443, 268, 493, 1914,
     2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542, 1537,
     1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518,
     5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966]
)  # fmt: skip
NAMES = ("neutral", "quads", "identity", "expression", "expression_names")


@dataclass(frozen=True, slots=True, eq=False)
class FaceKit:
    """Holds the drawn part of the kit."""

    neutral: FloatArray  # [V,3] canonical cm
    triangles: NDArray[np.int32]  # [M,3] counter-clockwise from outside
    identity: FloatArray  # [C,V,3] displacement of each component at weight 1
    expression: dict[str, NDArray[np.float16]]  # name → [V,3] displacement at weight 1

    def neutral_of(self, weights: FloatArray) -> FloatArray:
        """Returns the head [V,3] of identity `weights` [C], which a person has N(0,1)."""
        count = min(len(weights), len(self.identity))
        return self.neutral + np.tensordot(weights[:count], self.identity[:count], 1)

    def displacement(self, weights: dict[str, float]) -> FloatArray:
        """Returns the displacement [V,3] of an expression, name → weight."""
        total = np.zeros_like(self.neutral)
        for name, weight in weights.items():
            total += np.float32(weight) * self.expression[name].astype(np.float32)
        return total

    def turned_eyes(self, left_rad: float, up_rad: float) -> FloatArray:
        """Returns the displacement [E,3] of the EYES that look to the person's left and up; the kit's shapes turn none.

        Both turn about their own middles, which hardly move from person to person.
        """
        cy, sy, cp, sp = np.cos(left_rad), np.sin(left_rad), np.cos(up_rad), np.sin(up_rad)
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        points, moved = self.neutral[EYES], np.zeros_like(self.neutral[EYES])
        for of in (points[:, 0] > 0, points[:, 0] <= 0):
            arm = points[of] - (points[of].min(0) + points[of].max(0)) / 2
            moved[of] = arm @ (yaw @ pitch).T - arm
        return moved


def load_facekit(path: Path) -> FaceKit:
    """Reads the kit. Raises DataError where the file is missing, damaged or not the kit."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            missing = [name for name in NAMES if name not in stored]
            if missing:
                raise DataError(f"{path}: has no array {', '.join(missing)}", "give the facekit.npz of ICT-FaceKit")
            neutral, quads, identity, expression, names = (stored[name] for name in NAMES)
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise DataError(f"--facekit {path}: {error}", "give the facekit.npz of ICT-FaceKit") from None
    if len(neutral) < DRAWN or identity.shape[1:] != neutral.shape or expression.shape[1:] != neutral.shape:
        raise DataError(
            f"--facekit {path}: shapes {neutral.shape}, {identity.shape}, {expression.shape} do not belong together",
            "give the facekit.npz of ICT-FaceKit's light model (26,719 vertices)",
        )
    drawn = quads[(quads < DRAWN).all(1)]
    corners = drawn[drawn[:, 3] >= 0]
    triangles = np.concatenate([drawn[:, :3], corners[:, [0, 2, 3]]]).astype(np.int32)
    return FaceKit(
        neutral[:DRAWN].astype(np.float32),
        triangles,
        identity[:, :DRAWN].astype(np.float32),
        {str(name): expression[k, :DRAWN] for k, name in enumerate(names)},
    )
