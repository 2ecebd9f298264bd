"""Compares the picture behind the person: PSNR of the result against the driver, outside the person's mask.

Plain PSNR (10 log₁₀ 255²/MSE, one MSE over all frames), and PSNR after the best gain per frame and channel: a light may
dim the background on purpose, which is no damage; only an error that the gain does not explain is.
"""

import math

import cv2
import numpy as np

from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Request, Score

BACKGROUND = 0.1  # mask below which a pixel is behind the person
MARGIN = 0.02  # of the longer side: hair and the mask's own blur stay out
MAX_DB = 100.0  # what equal pictures score
MIN_SHARE = 0.01  # of the frame


def psnr_db(mse: float) -> float:
    """Return the PSNR of an 8-bit mean squared error, at most MAX_DB."""
    return MAX_DB if mse <= 0 else min(MAX_DB, 10 * math.log10(255**2 / mse))


class BackgroundPsnr:
    """The metric `background_psnr`: it accumulates squared errors over the frames of a clip."""

    info = MetricInfo(
        name="background_psnr",
        column="",
        better="higher",
        unit="dB",
        source="ours; PSNR outside the mask of lcvd.matting.selfie",
        needs="",
        aligned=True,
    )

    def __init__(self, request: Request) -> None:
        self._squares = self._after_gain = self._values = self._gains = 0.0
        self._frames, self._share = 0, 0.0

    def available(self) -> Missing | None:
        return None

    def load(self) -> None:
        pass

    def update(self, pair: FramePair) -> None:
        if pair.person is None:
            return
        margin = 2 * max(1, round(MARGIN * max(pair.person.shape))) + 1
        near = cv2.dilate((pair.person >= BACKGROUND).astype(np.uint8), np.ones((margin, margin), np.uint8))
        behind = near == 0
        share = float(behind.mean())
        if share < MIN_SHARE:
            return
        a, b = pair.driver[behind].astype(np.float64), pair.result[behind].astype(np.float64)
        gain = (a * b).sum(0) / np.maximum((a * a).sum(0), 1e-9)
        self._squares += float(np.square(b - a).sum())
        self._after_gain += float(np.square(b - gain * a).sum())
        self._values += a.size
        self._gains += float(gain.mean())
        self._share += share
        self._frames += 1

    def result(self) -> Score | Missing:
        if not self._frames:
            return Missing("the person fills the picture", "nothing: there is no background to compare")
        details = {
            "after_gain_db": psnr_db(self._after_gain / self._values),
            "gain": self._gains / self._frames,
            "share_of_frame": self._share / self._frames,
        }
        return Score(psnr_db(self._squares / self._values), self._frames, details)
