"""The person's mask is kept between frames, and the network runs only when the mask would be stale.

The network costs as much as everything else in `prepare`. It runs every third frame while the head is still, and at
once when the head moved by more than 0.012 face widths or when a hand waves, because a stale mask leaves ghosts beside
them. What changes far from the person does not count. While nothing moves, new masks are averaged in, so that the
contour stays steady.
"""

from collections.abc import Collection

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.protocols import Matte
from lcvd.types import Face, FloatArray

MOVED_FW = 0.012
EVERY = 3
STILL_BLEND = 0.5  # share of a new mask while the head is still
CHANGED_LEVEL, CHANGED_SHARE = 24, 0.015  # a waving hand changes this share of the picture by this many code values
THUMBNAIL_STEP_PX = 16
PERSON, NEAR_STEPS = 0.1, 5  # changes further from the mask are not the person's
COVERED = 0.8  # a further face of which the mask holds less is looked at alone
CROP_FW = 2.2  # reach of that crop from the face's middle, in face widths
RIM = 0.15  # of the crop


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
        self._near: NDArray[np.bool_] | None = None  # samples of the thumbnail that may concern the mask
        self._age = 0

    def segment(self, rgb: NDArray[np.uint8], face: Face, others: Collection[Face] = ()) -> FloatArray:
        """Return the mask [h,w] in [0,1] of the frame `rgb` [H,W,3], in the network's size.

        The array is a new one whenever the mask changed. `others` are further faces in the frame: where the network
        took one for the background, it is shown that part of the frame alone.
        """
        self._age += 1
        middle = THUMBNAIL_STEP_PX // 2
        thumbnail = rgb[middle::THUMBNAIL_STEP_PX, middle::THUMBNAIL_STEP_PX, 1].astype(np.int16)
        moved = self._moved(face) or self._changed(thumbnail)
        if self._mask is not None and not moved and self._age < EVERY:
            return self._mask
        mask = self._matte(rgb)
        for other in others:
            mask = self._with(mask, rgb, other)
        if self._mask is not None and not moved and self._mask.shape == mask.shape:
            mask = self._mask + STILL_BLEND * (mask - self._mask)
        self._mask, self._points, self._thumbnail, self._age = mask, face.vertices_px, thumbnail, 0
        self._near = _around(mask, thumbnail.shape)
        return mask

    def _with(self, mask: FloatArray, rgb: NDArray[np.uint8], other: Face) -> FloatArray:
        """Return `mask` [h,w] with the person of `other`, seen in a crop of the frame `rgb` if need be."""
        height, width = rgb.shape[:2]
        rows, cols = mask.shape
        oval = other.vertices_px[other.mesh.regions["face_oval"], :2]
        at = np.clip((oval * [cols / width, rows / height]).astype(int), 0, [cols - 1, rows - 1])
        inner = mask[at[:, 1].min() : at[:, 1].max() + 1, at[:, 0].min() : at[:, 0].max() + 1]
        if np.median(inner) > COVERED:
            return mask
        (x, y), reach = oval.mean(0), CROP_FW * other.width_px
        left, right = (int(np.clip(v, 0, width)) for v in (x - reach, x + reach))
        top, bottom = (int(np.clip(v, 0, height)) for v in (y - reach, y + 1.3 * reach))
        if right - left < 8 or bottom - top < 8:
            return mask
        part = self._matte(np.ascontiguousarray(rgb[top:bottom, left:right]))
        # Grid of the mask's cells inside the crop, sampled from the crop's own mask; its rim fades to nothing.
        u = ((np.arange(cols) + 0.5) * width / cols - left) / (right - left)
        v = ((np.arange(rows) + 0.5) * height / rows - top) / (bottom - top)
        map_x, map_y = np.meshgrid(u * part.shape[1] - 0.5, v * part.shape[0] - 0.5)
        seen = cv2.remap(part, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)
        inside = _rim(u, left > 0, right < width)[None] * _rim(v, top > 0, bottom < height)[:, None]
        return np.maximum(mask, seen * inside).astype(np.float32)

    def _moved(self, face: Face) -> bool:
        if self._points is None:
            return True
        shift = np.linalg.norm((face.vertices_px - self._points)[:, :2], axis=1).mean()
        return bool(shift > MOVED_FW * face.width_px)

    def _changed(self, thumbnail: NDArray[np.int16]) -> bool:
        if self._thumbnail is None or self._thumbnail.shape != thumbnail.shape:
            return True
        changed = (np.abs(thumbnail - self._thumbnail) > CHANGED_LEVEL) & self._near
        return bool(changed.mean() > CHANGED_SHARE)


def _around(mask: FloatArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return where a thumbnail of `shape` shows the person, or what is within NEAR_STEPS of it."""
    seen = cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA) > PERSON
    side = 2 * NEAR_STEPS + 1
    return cv2.dilate(seen.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def _rim(u: NDArray[np.floating], low: bool, high: bool) -> NDArray[np.floating]:
    """Return 1 inside [0,1] and 0 outside, falling over RIM of it at the sides that are not the frame's own."""
    weight = ((u >= 0) & (u <= 1)).astype(np.float64)
    if low:
        weight *= np.clip(u / RIM, 0, 1)
    if high:
        weight *= np.clip((1 - u) / RIM, 0, 1)
    return weight
