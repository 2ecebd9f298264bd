"""The cost model of a windowed engine, its delay and frame rate, and the quality presets that choose among them.

A window cannot start before its last new frame came, and frames leave with the spacing they came with: so every one
of them is as late as the first of its window. On a device that is too slow the frames of a window are taken while the
one before runs, and wait for it to end. A preset is nothing but values of an `Avatar`; whoever wants others names
them one by one. Without guidance (ω = 1) a step costs half; with a stride of 4 a frame waits for 3 others instead of 9,
but every frame costs 2.5 times the work. Pure arithmetic.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from engine.diffusion.window import DEFAULT_STRIDE
from engine.protocols import Prediction
from lcvd.networks.guidance import OMEGA

NEWEST_SHARE = 0.1  # of the newest window in the running mean: some ten windows are remembered
RECENT, LATE = 32, 0.9  # windows remembered one by one, and the share of them that are not late
RATIO_BOUNDS = (0.5, 4.0)  # one odd window must not promise the impossible, nor frighten everyone away


@dataclass(frozen=True, slots=True)
class CostModel:
    """Predicts the device time of a window from the seconds its stages took in the engine's warm-up."""

    forward_s: tuple[float, float]  # one call of the denoiser: with one branch, with both
    decode_s: float  # a frame, hint features included

    def window_s(self, steps: int, branches: int, hop: int) -> float:
        """Device time of one window of `hop` new frames, in seconds."""
        return steps * self.forward_s[branches - 1] + hop * self.decode_s


class RuntimeCalibration:
    """Measures how much longer windows take than the cost model says: another program on the GPU, a throttling chip.

    Windows of several streams overlap: each counts from the end of the one before. One device thread.
    """

    def __init__(self) -> None:
        self._busy_s = self._expected_s = 0.0  # sums in which older windows fade
        self._last_end_s = float("-inf")
        self._recent: deque[tuple[float, float]] = deque(
            maxlen=RECENT
        )  # (busy, expected) of windows that ended at once

    def add(self, started_s: float, ended_s: float, expected_s: float) -> None:
        """Take one more window into account; times of one clock."""
        busy_s = ended_s - max(started_s, self._last_end_s)
        self._last_end_s = ended_s
        self._busy_s = (1 - NEWEST_SHARE) * self._busy_s + NEWEST_SHARE * busy_s
        self._expected_s = (1 - NEWEST_SHARE) * self._expected_s + NEWEST_SHARE * expected_s
        if busy_s <= 0 and self._recent:  # it shared the calls of the window before
            before_s, expected_before_s = self._recent.pop()
            self._recent.append((before_s, expected_before_s + expected_s))
        elif expected_s > 0:
            self._recent.append((max(busy_s, 0.0), expected_s))

    @property
    def ratio(self) -> float:
        """Measured over expected time, within RATIO_BOUNDS; 1 before the first window."""
        if self._expected_s <= 0:
            return 1.0
        return _bounded(self._busy_s / self._expected_s)

    @property
    def late_ratio(self) -> float:
        """The same of the windows that are late: the pacer holds all frames back as long as those need."""
        if not self._recent:
            return 1.0
        late = float(np.quantile([busy_s / expected_s for busy_s, expected_s in self._recent], LATE))
        return max(_bounded(late), self.ratio)


def _bounded(ratio: float) -> float:
    return min(max(ratio, RATIO_BOUNDS[0]), RATIO_BOUNDS[1])


def predicted(
    source_fps: float,
    hop: int,  # frames a window
    window_s: float,  # time the device takes for one: features, denoising, decoding
    streams: int = 1,  # participants who take turns on the device
    flying: int = 1,  # chunks under way at once (engine.diffusion.staggered); frames leave flying - 1 chunks later
    late_window_s: float | None = None,  # of the late ones, by which the delay goes; None: all take as long
) -> Prediction:
    """Predict delay and rate of `hop`-frame windows, or staggered chunks, at `source_fps`.

    Raises ValueError for values at or below 0.
    """
    if source_fps <= 0 or hop < 1 or window_s < 0 or streams < 1 or flying < 1:
        raise ValueError(
            f"source_fps={source_fps}, hop={hop}, window_s={window_s}, streams={streams}, flying={flying}: too small"
        )
    turn_s = window_s * streams  # at worst every other participant's window comes first
    late_s = turn_s if late_window_s is None else max(turn_s, late_window_s * streams)
    most = hop / turn_s if turn_s > 0 else float("inf")
    keeps_up = source_fps <= most
    # Too slow: frames are taken as one window starts and wait for its end; the first of them waited half a frame.
    lead_s = (flying * hop - 1) / source_fps if keeps_up else flying * late_s + 0.5 / source_fps
    return Prediction(lead_s + late_s, min(source_fps, most), keeps_up)


@dataclass(frozen=True, slots=True)
class QualityPreset:
    """One place of the page's quality slider."""

    name: str
    title: str
    steps: int
    omega: float  # 1 is no guidance
    stride: int


QUALITIES = (
    QualityPreset("instant", "Instant", 1, 1.0, 4),
    QualityPreset("quick", "Quick", 2, 1.0, 8),
    QualityPreset("balanced", "Balanced", 2, OMEGA, DEFAULT_STRIDE),
    QualityPreset("fine", "Fine", 4, OMEGA, DEFAULT_STRIDE),
    QualityPreset("finer", "Finer", 8, OMEGA, DEFAULT_STRIDE),
    QualityPreset("studio", "Studio", 25, OMEGA, DEFAULT_STRIDE),
)
DEFAULT_QUALITY = "fine"


def nearest_preset(steps: int, omega: float, stride: int) -> str:
    """Return the preset most like these settings; the slider stands there for an engine that was asked for nothing."""

    def unlike(preset: QualityPreset) -> tuple[float, bool, int]:
        return abs(math.log(preset.steps / steps)), (preset.omega > 1) != (omega > 1), abs(preset.stride - stride)

    return min(QUALITIES, key=unlike).name
