"""Tiles a clip of any length into 16-frame windows that share the anchor, and gives the weights of their blending.

Frame 0 (the reference under its own light) opens every window; 15 consecutive frames follow; windows start every 10
frames and the last one is aligned to the end, so that the published "overlap 6" is 5 shared frames and the anchor.
A frame's predictions are averaged with tent weights of its position p: (p + 0.5)/8, mirrored. Offline only: the blend
couples all windows at every step and is not causal. Clips shorter than a window are one short window.
"""

import numpy as np
from numpy.typing import NDArray

WINDOW = 16
HOP = 10


def tile_windows(frames: int, size: int = WINDOW, hop: int = HOP) -> list[list[int]]:
    """Return the frame indices of every window, in order; frame 0 is the anchor and first in each.

    `frames` counts the anchor. Raises ValueError for an empty clip, or a hop that leaves gaps.
    """
    if frames < 1:
        raise ValueError(f"frames: {frames} frames cannot be tiled; a clip has at least its anchor")
    if not 1 <= hop <= size - 1:
        raise ValueError(f"hop: {hop} must lie in 1 … {size - 1}, or frames would be left out")
    if frames <= size:
        return [list(range(frames))]
    starts = list(range(0, frames - size + 1, hop))
    if starts[-1] != frames - size:
        starts.append(frames - size)
    return [[0, *range(start + 1, start + size)] for start in starts]


def tent(size: int) -> NDArray[np.float64]:
    """Return [size] weights (p + 0.5)/(size/2), mirrored about the middle; all positive."""
    rising = (np.arange(size) + 0.5) * 2.0 / size
    return np.minimum(rising, 2.0 - rising)
