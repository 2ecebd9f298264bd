"""This module draws a contact sheet of training clips: frame, hint over the frame, hint, and cut-out."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.sample import TrainingClip

MOMENTS = 3  # of a clip, shown beside its reference


def sheet(clips: Iterable[TrainingClip], cell_px: int = 160) -> NDArray[np.uint8]:
    """Returns [rows·cell, columns·cell, 3]: a row a clip, and four pictures for each of its moments.

    Raises ValueError where no clip is given.
    """
    rows = []
    for clip in clips:
        moments = [0, *np.linspace(1, len(clip.frames) - 1, MOMENTS).round().astype(int)]
        rows.append(np.hstack([_moment(clip, int(i), cell_px) for i in moments]))
    if not rows:
        raise ValueError("a sheet needs at least one clip")
    return np.vstack(rows)


def _moment(clip: TrainingClip, i: int, cell_px: int) -> NDArray[np.uint8]:
    frame, hint, mask = clip.frames[i], clip.hints[i], clip.masks[i, :, :, None].astype(np.float32) / 255
    drawn = hint.any(2, keepdims=True)
    blend = np.where(drawn, frame // 2 + hint // 2, frame)
    cut = np.rint(frame * mask + (1 - mask) * np.array([0, 177, 64])).astype(np.uint8)
    cells = [cv2.resize(cell, (cell_px, cell_px), interpolation=cv2.INTER_AREA) for cell in (frame, blend, hint, cut)]
    return np.hstack(cells).astype(np.uint8, copy=False)
