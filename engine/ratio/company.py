"""People beside the one whose face is followed are lit alike: each with a light estimate and a surface of their own.

One face's surface says nothing of another person's: lit by it, they get a grey smudge or a dark face. So the picture is
relit once for each face as if it were the only one, and the results are mixed by nearness. The background is the same
in all of them, so the mixing leaves no edge there; between two people it lies where their bodies meet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.relighting.room_colour import RoomColour
from engine.relighting.source_light import SourceLight
from lcvd.face.geometry import face_mesh
from lcvd.types import Face, FloatArray

COARSE = 4  # pixels a cell of the weights
BODY = 0.5  # heights count half: shoulders and chest lie below a face
SOFT_FW = 0.35  # width of the mixing, as a difference of distances in face widths


@dataclass(frozen=True, slots=True, eq=False)
class LitFace:
    """One person of a scene."""

    face: Face
    source: FloatArray  # [9] irradiance coefficients of the light on this face in the picture
    room: FloatArray  # [3] that light's colour, linear RGB of luminance 1
    share: float  # how far this face has faded in, (0,1]


class _Companion:
    def __init__(self, face: Face, share: float) -> None:
        self.face, self.share = face, share
        self.source = SourceLight(face_mesh())
        self.room = RoomColour(face_mesh())


class Company:
    """Remembers the faces beside the main one from frame to frame: their light, and how far they have faded in."""

    def __init__(self) -> None:
        self._known: dict[int, _Companion] = {}

    def reset(self) -> None:
        """Forget everybody."""
        self._known = {}

    def update(self, rgb: NDArray[np.uint8], faces: Mapping[int, Face], step: float) -> tuple[LitFace, ...]:
        """Return everybody in the picture `rgb` [H,W,3]; `step` is how far one fades in or out, 1 at once."""
        for number in faces.keys() - self._known.keys():
            self._known[number] = _Companion(faces[number], 0.0)
        for number, each in list(self._known.items()):
            if number in faces:
                each.face = faces[number]
                each.source.update(rgb, each.face)
                each.room.update(rgb, each.face)
                each.share = min(each.share + step, 1.0)
            else:
                each.share -= step
                if each.share <= 0:
                    del self._known[number]
        return tuple(
            LitFace(each.face, each.source.coefficients, each.room.rgb, each.share)
            for each in self._known.values()
            if each.share > 0
        )


def mixed(pictures: Sequence[NDArray[np.uint8]], people: Sequence[LitFace]) -> NDArray[np.uint8]:
    """Mix `pictures` [H,W,3] of one frame, each relit for one of `people`, by nearness: [H,W,3]."""
    height, width = pictures[0].shape[:2]
    weights = nearness(people, (height, width), COARSE)
    out = pictures[0].astype(np.float32)
    for picture, weight in zip(pictures[1:], weights[1:], strict=True):
        wide = cv2.resize(weight, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
        out += wide * (picture.astype(np.float32) - pictures[0])
    return np.clip(out + 0.5, 0, 255).astype(np.uint8)


def nearness(people: Sequence[LitFace], size: tuple[int, int], step: int = 1) -> FloatArray:
    """Return [N,⌈H/step⌉,⌈W/step⌉], each pixel's shares of N people, which sum to 1; size is (height, width).

    Distances are in widths of each face. What a person has not faded in to yet is the first one's.
    """
    rows, cols = (max(-(-side // step), 1) for side in size)
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * (size[0] / rows)
    x = (np.arange(cols, dtype=np.float32)[None] + 0.5) * (size[1] / cols)
    distances = []
    for each in people:
        at, fw = each.face.vertices_px[:, :2].mean(0), max(each.face.width_px, 1.0)
        distances.append(np.hypot((x - at[0]) / fw, BODY * (y - at[1]) / fw))
    apart = np.stack(distances)
    weights = np.exp((apart.min(0) - apart) * (4 / SOFT_FW)).astype(np.float32)
    weights /= weights.sum(0)
    weights[1:] *= np.array([each.share for each in people[1:]], np.float32)[:, None, None]
    weights[0] = 1 - weights[1:].sum(0)
    return weights
