"""The stops of the quality/latency slider: from the smallest delay to the finest picture.

A stop is nothing but values of an `Avatar`; whoever wants others names them one by one. Without guidance (ω = 1) a step
costs half; with a stride of 4 a frame waits for 3 others instead of 9, but every frame costs 2.5 times the work.
"""

import math
from dataclasses import dataclass

from engine.diffusion.window import DEFAULT_STRIDE
from lcvd.networks.guidance import OMEGA


@dataclass(frozen=True, slots=True)
class Quality:
    """One stop."""

    name: str
    title: str
    steps: int
    omega: float  # 1 is no guidance
    stride: int


QUALITIES = (
    Quality("instant", "Instant", 1, 1.0, 4),
    Quality("quick", "Quick", 2, 1.0, 8),
    Quality("balanced", "Balanced", 2, OMEGA, DEFAULT_STRIDE),
    Quality("fine", "Fine", 4, OMEGA, DEFAULT_STRIDE),
    Quality("finer", "Finer", 8, OMEGA, DEFAULT_STRIDE),
    Quality("studio", "Studio", 25, OMEGA, DEFAULT_STRIDE),
)
DEFAULT_QUALITY = "fine"


def nearest_quality(steps: int, omega: float, stride: int) -> str:
    """The stop most like these settings: what the slider shows of an engine that was asked for nothing."""

    def unlike(stop: Quality) -> tuple[float, bool, int]:
        return abs(math.log(stop.steps / steps)), (stop.omega > 1) != (omega > 1), abs(stop.stride - stride)

    return min(QUALITIES, key=unlike).name
