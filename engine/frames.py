"""Frame and Work: the nouns that travel through an engine (frozen)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcvd.types import Face, Lighting


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of the stream. `index` counts submitted frames, so gaps are drops."""

    index: int
    t_s: float  # presentation time of the source: drives every filter
    rgb: NDArray[np.uint8]  # [H,W,3]; nobody writes into it
    arrived_s: float = 0.0  # host clock when it arrived: latency is measured from here


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A run of consecutive frames with what the host half learned: all that `prepare` and `render` share.

    The three tuples have one length T, so that a light change belongs to a numbered frame.
    `host` is the engine's own host-half result (masks, source light); only the engine that made it reads it.
    """

    frames: tuple[Frame, ...]
    faces: tuple[Face | None, ...]
    lightings: tuple[Lighting, ...]
    host: Any = None
