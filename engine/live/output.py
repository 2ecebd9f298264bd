"""OutputFrame and LiveSnapshot: what leaves the live core, one a picture and one a look at its health (frozen)."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.live.face_advice import FaceState


@dataclass(frozen=True, slots=True, eq=False)
class OutputFrame:
    """One picture to send. `t_s` is the source's presentation time, made monotone."""

    index: int
    t_s: float
    rgb: NDArray[np.uint8]  # [H,W,3], C-contiguous; nobody writes into it
    arrived_s: float
    relit: bool
    showing: str = ""  # the engine that made it, `camera` or `portrait`


@dataclass(frozen=True, slots=True)
class LiveSnapshot:
    """The `stats` message of docs/protocol.md, without its `type`; `dataclasses.asdict` gives the JSON."""

    fps_in: float = 0.0
    fps_out: float = 0.0
    drops: int = 0
    width: int = 0
    height: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    face: FaceState = "ok"
    engine: dict[str, str] = field(default_factory=dict)
