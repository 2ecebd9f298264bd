"""CutDetector finds where a new shot begins: hard cuts, and dissolves by the change over several frames.

Frames are compared as 32×24 thumbnails, mean absolute difference of RGB in [0,1]. A cut is a jump far above the
footage's own recent motion; a dissolve has no jump, but after REACH frames the whole picture has changed. REACH
thumbnails are kept. Thresholds: docs/data.md.
"""

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray

THUMB = (32, 24)
JUMP = 0.08  # at least this much between two frames …
JUMP_RATIO = 4.0  # … and this many times the median of the last RECENT frames
RECENT = 16
REACH = 32
CHANGED = 0.20  # over REACH frames; heads that lean far reach 0.16


class CutDetector:
    """Takes every frame in order and reports which ones begin a new shot."""

    def __init__(self) -> None:
        self._thumbs: deque[FloatArray] = deque(maxlen=REACH)
        self._steps: deque[float] = deque(maxlen=RECENT)

    def starts_shot(self, rgb: NDArray[np.uint8]) -> bool:
        """Returns True where rgb uint8 [H,W,3] is the first frame of a shot that is not the first one."""
        thumb: FloatArray = cv2.resize(rgb, THUMB, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
        if not self._thumbs:
            self._thumbs.append(thumb)
            return False
        step = float(np.abs(thumb - self._thumbs[-1]).mean())
        since = float(np.abs(thumb - self._thumbs[0]).mean())
        usual = float(np.median(self._steps)) if self._steps else 0.0
        if (step > JUMP and step > JUMP_RATIO * usual) or since > CHANGED:
            self._thumbs.clear()
            self._steps.clear()
            self._thumbs.append(thumb)
            return True
        self._thumbs.append(thumb)
        self._steps.append(step)
        return False
