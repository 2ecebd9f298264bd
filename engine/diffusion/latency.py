"""What a windowed engine costs in delay and frame rate, and the quality presets that choose among such costs.

A window cannot start before its last fresh frame came, and frames leave with the spacing they came with: so every one
of them is as late as the first of its window. A preset is nothing but values of an `Avatar`; whoever wants others names
them one by one. Without guidance (ω = 1) a step costs half; with a stride of 4 a frame waits for 3 others instead of 9,
but every frame costs 2.5 times the work. Pure arithmetic.
"""

import math
from dataclasses import dataclass

from engine.diffusion.window import DEFAULT_STRIDE
from engine.protocols import Prediction
from lcvd.networks.guidance import OMEGA

PACE_SHARE = 0.1  # of the newest window in the running mean: some ten windows are remembered
PACE_BOUNDS = (0.5, 4.0)  # one odd window must not promise the impossible, nor frighten everyone away


@dataclass(frozen=True, slots=True)
class WindowCost:
    """What the device was seen to take, in seconds; measured by the engine's warm-up."""

    forward_s: tuple[float, float]  # one call of the denoiser: with one branch, with both
    decode_s: float  # a frame, hint features included

    def window_s(self, steps: int, branches: int, fresh: int) -> float:
        """One window of `fresh` new frames."""
        return steps * self.forward_s[branches - 1] + fresh * self.decode_s


class Pace:
    """How much longer windows take than was measured at the start: another program on the GPU, a throttling chip.

    Windows of several streams overlap: each counts from the end of the one before. One device thread.
    """

    def __init__(self) -> None:
        self._busy_s = self._expected_s = 0.0  # sums in which older windows fade
        self._last_end_s = float("-inf")

    def window(self, started_s: float, ended_s: float, expected_s: float) -> None:
        """One window was made; times of one clock."""
        busy_s = ended_s - max(started_s, self._last_end_s)
        self._last_end_s = ended_s
        self._busy_s = (1 - PACE_SHARE) * self._busy_s + PACE_SHARE * busy_s
        self._expected_s = (1 - PACE_SHARE) * self._expected_s + PACE_SHARE * expected_s

    @property
    def ratio(self) -> float:
        """Measured over expected time, within PACE_BOUNDS; 1 before the first window."""
        if self._expected_s <= 0:
            return 1.0
        return min(max(self._busy_s / self._expected_s, PACE_BOUNDS[0]), PACE_BOUNDS[1])


def predicted(
    source_fps: float,
    fresh: int,  # frames a window
    window_s: float,  # time the device takes for one: features, denoising, decoding
    streams: int = 1,  # participants who take turns on the device
    flying: int = 1,  # chunks under way at once (engine.diffusion.staggered); frames leave flying - 1 chunks later
) -> Prediction:
    """Delay and rate of `fresh`-frame windows, or staggered chunks, at `source_fps`. Raises ValueError for values at or
    below 0."""
    if source_fps <= 0 or fresh < 1 or window_s < 0 or streams < 1 or flying < 1:
        raise ValueError(
            f"source_fps={source_fps}, fresh={fresh}, window_s={window_s}, streams={streams}, flying={flying}:"
            " too small"
        )
    fill_s = (flying * fresh - 1) / source_fps
    turn_s = window_s * streams  # at worst every other participant's window comes first
    most = fresh / turn_s if turn_s > 0 else float("inf")
    return Prediction(fill_s + turn_s, min(source_fps, most), source_fps <= most)


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
