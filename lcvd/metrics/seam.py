"""Measures seams between windows: the change across joins over the change elsewhere, motion taken out.

The change from frame to frame is the warping error of `lcvd.metrics.flicker`: |V_t − warp(V_t−1)| where the flow can be
trusted. Flow comes from `guides`, what drives the clip (the driver's frames or the hints), so that a broken result
does not disturb its own measurement. 1 = a join is as smooth as any other step; the project asks for 1.1 at most.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.metrics.flicker import DriverFlow, warp


def seam_error(
    pictures: NDArray[np.uint8],  # [N,H,W,3]
    guides: NDArray[np.uint8],  # [N,H,W,3] what moved, frame by frame
    hop: int,  # new frames a window: frames hop - 1 and hop were made by two windows, and so on
) -> float:
    """Return the RMS of the flow-warped difference at joins divided by that elsewhere.

    Raises ShapeError without a join or a step elsewhere. Infinite where nothing changes but at joins, nan where nothing
    changes at all.
    """
    if pictures.shape != guides.shape or hop < 2 or len(pictures) <= hop:
        raise ShapeError(
            f"pictures {list(pictures.shape)}, guides {list(guides.shape)}, hop {hop}",
            "give both [N,H,W,3] with N above the hop, and a hop of at least 2",
        )
    flow, greys = DriverFlow(), [cv2.cvtColor(guide, cv2.COLOR_RGB2GRAY) for guide in guides]
    change = np.empty(len(pictures) - 1)
    for i in range(len(change)):
        pair = flow.between(np.asarray(greys[i], np.uint8), np.asarray(greys[i + 1], np.uint8))
        before = warp(pictures[i].astype(np.float32), pair.flow)
        difference = np.square(pictures[i + 1] - before)[pair.valid]
        change[i] = difference.mean() if difference.size else 0.0
    joins = np.arange(hop - 1, len(change), hop)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt(change[joins].mean() / np.delete(change, joins).mean()))
