"""Frame + face → the person's mask, asked of the network only when it would be stale.

The network costs as much as everything else in `prepare`. A still head needs it every third frame; a head that moved
more than 0.012 face widths, or a hand that waves, needs it at once, for a stale mask ghosts beside them. While all is
still, new masks are averaged in, so that the contour does not breathe.
"""

import numpy as np
from numpy.typing import NDArray

from lcvd.protocols import Matte
from lcvd.types import Face, FloatArray

MOVED_FW = 0.012
EVERY = 3
STILL_BLEND = 0.5  # share of a new mask while the head is still
CHANGED_LEVEL, CHANGED_SHARE = 24, 0.015  # a hand that waves: this many code values, in this share of the picture
LOOK_EVERY_PX = 16


class PersonMask:
    """Follows one stream's mask. Not for two threads at once."""

    def __init__(self, matte: Matte) -> None:
        self._matte = matte
        self.reset()

    def reset(self) -> None:
        """Ask the network for the next frame."""
        self._mask: FloatArray | None = None
        self._points: FloatArray | None = None
        self._look: NDArray[np.int16] | None = None
        self._age = 0

    def of(self, rgb: NDArray[np.uint8], face: Face) -> FloatArray:
        """Mask [h,w] in [0,1] of the network's size; a new array whenever it changed."""
        self._age += 1
        look = rgb[::LOOK_EVERY_PX, ::LOOK_EVERY_PX, 1].astype(np.int16)
        moved = self._moved(face) or self._changed(look)
        if self._mask is not None and not moved and self._age < EVERY:
            return self._mask
        mask = self._matte(rgb)
        if self._mask is not None and not moved and self._mask.shape == mask.shape:
            mask = self._mask + STILL_BLEND * (mask - self._mask)
        self._mask, self._points, self._look, self._age = mask, face.vertices_px, look, 0
        return mask

    def _moved(self, face: Face) -> bool:
        if self._points is None:
            return True
        shift = np.linalg.norm((face.vertices_px - self._points)[:, :2], axis=1).mean()
        return bool(shift > MOVED_FW * face.width_px)

    def _changed(self, look: NDArray[np.int16]) -> bool:
        if self._look is None or self._look.shape != look.shape:
            return True
        return bool((np.abs(look - self._look) > CHANGED_LEVEL).mean() > CHANGED_SHARE)
