"""Frame and Work are the frozen records that pass through an engine."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import FrameError
from lcvd.types import Face, Lighting


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of the stream. `index` counts submitted frames, so gaps are dropped frames."""

    index: int
    t_s: float  # presentation time of the source, which drives every filter
    rgb: NDArray[np.uint8]  # [H,W,3], never written into
    arrived_s: float = 0.0  # time of arrival on the host's clock, from which latency is measured


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A run of consecutive frames with the results of the host half; `prepare` and `render` share nothing else.

    The three tuples have one length T, so that a light change belongs to a numbered frame. `payload` is the engine's
    own result of the host half (masks, source light), which only the engine that made it reads.
    """

    frames: tuple[Frame, ...]
    faces: tuple[Face | None, ...]
    lightings: tuple[Lighting, ...]
    payload: Any = None


def require_rgb(frame: Frame) -> None:
    """Raise FrameError unless the frame's picture is uint8 [H,W,3]."""
    rgb = frame.rgb
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise FrameError(f"frame {frame.index}: {rgb.dtype} {rgb.shape}", "give uint8 [H,W,3]")
