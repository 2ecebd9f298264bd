"""The iris network: a square crop around one eye becomes its iris, corners and lids in frame pixels.

`iris_landmark.tflite` (64 px, Ablavatski et al. 2020, "Real-time Pupil Tracking from Monocular Video for Digital
Puppetry"). It knows picture-left eyes only, so that the other one is fed to it as its mirror image.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.tracking.crop import Roi, crop, frame_from_crop
from lcvd.tracking.litert import LiteRtNetwork
from lcvd.types import FloatArray

CORNERS = ((33, 133), (263, 362))  # outer and inner corner of the picture-left and the picture-right eye, of 468
REACH = 2.3  # side of the square, in distances between the corners
CONTOUR, IRIS = 71, 5  # points; of the contour the first 16 are corners and lids
CELLS = 8  # the square is compared in so many cells a side
SAME = 4.0  # code values: a cell that differs by less shows the same
RERUNS = 1  # so often in a row the last answer may stand for a square that shows the same
LIDS = slice(9, 16), slice(1, 8)  # upper and lower lid, outer corner to inner


class EyePoints(NamedTuple):
    """One eye in a picture, px, x right and y down."""

    iris: FloatArray  # [2] the centre of the iris
    radius: float  # of the iris
    corners: FloatArray  # [2,2] outer, inner
    upper: FloatArray  # [7,2] upper lid, outer corner to inner
    lower: FloatArray  # [7,2] lower lid

    @property
    def width(self) -> float:
        """Distance between the corners."""
        return float(np.linalg.norm(self.corners[1] - self.corners[0]))

    @property
    def gap(self) -> float:
        """Mean distance of the lids, of their middle five points."""
        return float(np.linalg.norm(self.upper[1:6] - self.lower[1:6], axis=1).mean())


class IrisNetwork:
    """Holds the network. Not for two threads at once.

    With `rests` an eye that looks as it did when the network saw it last is not shown to it every time: only where the
    corners are now is new then. A blink and a jump of the gaze change the square, and are seen at once.
    """

    def __init__(self, path: Path, *, rests: bool = False) -> None:
        self._net = LiteRtNetwork(path)
        self._rests = rests
        self._last: list[_Answer | None] = [None, None]  # of each eye

    def __call__(self, rgb: NDArray[np.uint8], points: FloatArray, eye: int) -> EyePoints:
        """Return an eye in `rgb` [H,W,3] of a face with `points` [468,≥2] px; `eye` is 0 for the picture-left one.

        Picture-left means so on an upright face that is not mirrored.
        """
        size = self._net.width
        roi = _around(points[list(CORNERS[eye]), :2], eye)
        square = crop(rgb, roi, size)
        if eye == 1:
            square = np.ascontiguousarray(square[:, ::-1])
        seen = self._seen(square, eye)
        if eye == 1:
            seen = np.column_stack([size - seen[:, 0], seen[:, 1]])
        matrix = frame_from_crop(roi, size)
        at = (seen @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        iris, rim = at[16], at[17:]
        radius = float(np.linalg.norm(rim - iris, axis=1).mean())
        return EyePoints(iris, radius, at[[0, 8]], at[LIDS[0]], at[LIDS[1]])

    def _seen(self, square: NDArray[np.uint8], eye: int) -> FloatArray:
        """Return corners, lids and iris [21,2] in px of the square."""
        cells = cv2.resize(square, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.int16)
        last = self._last[eye]
        if self._rests and last is not None and last.used < RERUNS and np.abs(cells - last.cells).max() < SAME:
            self._last[eye] = last._replace(used=last.used + 1)
            return last.seen
        outputs = {output.size: output.reshape(-1, 3)[:, :2] for output in self._net(square)}
        seen = np.vstack([outputs[3 * CONTOUR][:16], outputs[3 * IRIS]])
        self._last[eye] = _Answer(cells, seen, 0)
        return seen


class _Answer(NamedTuple):
    cells: NDArray[np.int16]  # [CELLS,CELLS,3] the square that it is about
    seen: FloatArray  # [21,2]
    used: int  # how often it has stood for a later square


def _around(corners: FloatArray, eye: int) -> Roi:
    left, right = corners if eye == 0 else corners[::-1]
    dx, dy = (float(v) for v in right - left)
    x, y = (float(v) for v in (left + right) / 2)
    return Roi(x, y, REACH * max(float(np.hypot(dx, dy)), 4.0), float(np.arctan2(dy, dx)))
