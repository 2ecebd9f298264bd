"""The person's mask is kept between frames, and the network runs only when the mask would be stale.

The network costs as much as everything else in `prepare`. It runs every third frame while the head is still, and at
once when the head moved by more than 0.012 face widths or when a hand waves, because a stale mask leaves ghosts beside
them. While nothing moves, new masks are averaged in, so that the contour stays steady.
"""

import numpy as np
from numpy.typing import NDArray

from lcvd.protocols import Matte
from lcvd.types import Face, FloatArray

MOVED_FW = 0.012
EVERY = 3
STILL_BLEND = 0.5  # share of a new mask while the head is still
CHANGED_LEVEL, CHANGED_SHARE = 24, 0.015  # a waving hand changes this share of the picture by this many code values
THUMBNAIL_STEP_PX = 16


class PersonMask:
    """Holds the mask of one stream. One thread at a time may use it."""

    def __init__(self, matte: Matte) -> None:
        self._matte = matte
        self.reset()

    def reset(self) -> None:
        """Run the network on the next frame."""
        self._mask: FloatArray | None = None
        self._points: FloatArray | None = None
        self._thumbnail: NDArray[np.int16] | None = None
        self._age = 0

    def segment(self, rgb: NDArray[np.uint8], face: Face) -> FloatArray:
        """Return the mask [h,w] in [0,1] of the frame `rgb` [H,W,3], in the network's size.

        The array is a new one whenever the mask changed.
        """
        self._age += 1
        thumbnail = rgb[::THUMBNAIL_STEP_PX, ::THUMBNAIL_STEP_PX, 1].astype(np.int16)
        moved = self._moved(face) or self._changed(thumbnail)
        if self._mask is not None and not moved and self._age < EVERY:
            return self._mask
        mask = self._matte(rgb)
        if self._mask is not None and not moved and self._mask.shape == mask.shape:
            mask = self._mask + STILL_BLEND * (mask - self._mask)
        self._mask, self._points, self._thumbnail, self._age = mask, face.vertices_px, thumbnail, 0
        return mask

    def _moved(self, face: Face) -> bool:
        if self._points is None:
            return True
        shift = np.linalg.norm((face.vertices_px - self._points)[:, :2], axis=1).mean()
        return bool(shift > MOVED_FW * face.width_px)

    def _changed(self, thumbnail: NDArray[np.int16]) -> bool:
        if self._thumbnail is None or self._thumbnail.shape != thumbnail.shape:
            return True
        return bool((np.abs(thumbnail - self._thumbnail) > CHANGED_LEVEL).mean() > CHANGED_SHARE)
