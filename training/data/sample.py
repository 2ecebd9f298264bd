"""A TrainingClip is one training sample: a short clip of one head, its shading hints and its portrait masks.

`training.data.dataset` and `training.data.synthetic` make them, the losses consume them. Index 0 of every array is the
reference (LCVD, Guo et al. 2025: "index 0 replaced by a random frame of the clip"), 1 … F−1 are the clip in order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class TrainingClip:
    """Holds F frames of S×S pixels with hints and masks. Raises ShapeError where the arrays do not fit together."""

    frames: NDArray[np.uint8]  # [F,S,S,3] RGB
    hints: NDArray[np.uint8]  # [F,S,S,3] shading under each frame's own, estimated light; black outside the face
    masks: NDArray[np.uint8]  # [F,S,S] portrait mask, 255 = portrait
    reference: NDArray[np.uint8]  # [S,S,3] the reference; equal to frames[0]
    name: str  # the sample's key: says where it came from

    def __post_init__(self) -> None:
        f = self.frames
        if f.ndim != 4 or f.shape[3] != 3 or f.shape[1] != f.shape[2] or f.dtype != np.uint8 or not len(f):
            raise ShapeError(f"{self.name}: frames are uint8 [F,S,S,3], got {f.dtype} {list(f.shape)}")
        for field, array, shape in (
            ("hints", self.hints, f.shape),
            ("masks", self.masks, f.shape[:3]),
            ("reference", self.reference, f.shape[1:]),
        ):
            if array.shape != shape or array.dtype != np.uint8:
                raise ShapeError(
                    f"{self.name}: {field} is uint8 {list(shape)}, got {array.dtype} {list(array.shape)}",
                    "frames, hints, masks and reference describe the same pictures",
                )
