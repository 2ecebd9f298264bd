"""A ProcessedClip is one sample as footage preparation makes it, before it is written."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ProcessedClip:
    """Holds the arrays and notes of one sample before it is written."""

    name: str
    frames: NDArray[np.uint8]  # [F,S,S,3]
    hints: NDArray[np.uint8]  # [F,S,S,3]
    masks: NDArray[np.uint8]  # [F,S,S], 255 = portrait
    tracking: dict[str, NDArray[Any]]  # see `tracker_parameters`
    notes: dict[str, Any]  # JSON
