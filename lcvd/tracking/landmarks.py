"""The face mesh network: a square crop of the frame becomes 468 points in frame pixels and a presence probability.

`face_landmark.tflite` (192 px, Kartynnik et al. 2019, "Real-time Facial Surface Geometry from Monocular Video on Mobile
GPUs"). Its z is weak-perspective depth in the same unit as x and y, negative towards the viewer; ours is positive.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcvd.tracking.crop import Roi, crop, frame_from_crop
from lcvd.tracking.litert import LiteRtNetwork
from lcvd.types import FloatArray

POINTS = 468


class LandmarkNetwork:
    """The landmark network of one tracker."""

    def __init__(self, path: Path) -> None:
        self._net = LiteRtNetwork(path)

    def __call__(self, rgb: NDArray[np.uint8], roi: Roi) -> tuple[FloatArray, float]:
        """Return points [468,3] (x right, y down, z to the viewer, frame pixels) and the presence in [0,1]."""
        size = self._net.width
        flat, logit = self._net(crop(rgb, roi, size))
        raw = flat.reshape(POINTS, 3)
        matrix = frame_from_crop(roi, size)
        points = np.empty((POINTS, 3), np.float32)
        points[:, :2] = raw[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        points[:, 2] = raw[:, 2] * np.float32(-roi.size_px / size)
        presence = 1 / (1 + np.exp(-np.clip(float(logit.reshape(-1)[0]), -50, 50)))
        return points, float(presence)
