"""Frames → DECA's light and head pose, once per frame for the metrics that share them. Needs torch and the user's file.

Only `deca_model.tar` is needed (no FLAME): the encoder of `lcvd.tracking.deca`, on DECA's crop around our landmarks.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.metrics.metric import FramePair, Missing, Picture, Request
from lcvd.metrics.weight_files import every, find, require, require_torch
from lcvd.tracking.deca import DecaCode, Encoder, cut, deca_crop, landmarks_68, split_code, torch_encoder
from lcvd.types import Face

FILES = ("deca_model.tar", "data/deca_model.tar", "deca/deca_model.tar")
ORIGIN = "DECA's README, github.com/yfeng95/DECA (non-commercial research licence)"


class DecaPair(NamedTuple):
    """DECA's codes of one frame pair; None without a face seen in that frame."""

    result: DecaCode | None
    driver: DecaCode | None


class DecaCodes:
    """Remembers the last pair. `encoder` replaces what the file would give."""

    def __init__(self, request: Request, encoder: Encoder | None = None) -> None:
        self._files = request.files
        self._encoder = encoder
        self._index = -1
        self._pair = DecaPair(None, None)

    def available(self) -> Missing | None:
        """As Metric.available."""
        if self._encoder is not None:
            return None
        return every(require_torch(), require(self._files, FILES, ORIGIN))

    def load(self) -> None:
        """As Metric.load."""
        path = find(self._files, *FILES)
        if self._encoder is None and path is not None:
            self._encoder = torch_encoder(path)

    def of(self, pair: FramePair) -> DecaPair:
        """Codes of both frames, from memory when `pair` was the last one."""
        if pair.index != self._index:
            self._pair = DecaPair(self._code(pair.result, pair.result_face), self._code(pair.driver, pair.driver_face))
            self._index = pair.index
        return self._pair

    def _code(self, rgb: Picture, face: Face | None) -> DecaCode | None:
        if face is None or face.held or self._encoder is None:
            return None
        crop = deca_crop(landmarks_68(face))
        return split_code(np.asarray(self._encoder(cut(rgb, crop)[None]), np.float32)[0], crop)


def head_rotation(code: DecaCode) -> NDArray[np.float64]:
    """[3,3] of the global pose, the first three numbers, axis-angle (Rodrigues)."""
    return np.asarray(cv2.Rodrigues(np.asarray(code.pose[:3], np.float64))[0])
