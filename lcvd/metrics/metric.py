"""Data types of an evaluation, MetricInfo, FramePair, Score and Missing, and Metric, the interface of all metrics.

A metric sees a clip and its driver frame by frame, once, in order, and keeps what it needs: memory does not grow with
the clip. A metric that cannot be computed returns `Missing` with the reason and the remedy, never a substitute number.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lcvd.types import Face, FloatArray, Lighting

Picture = NDArray[np.uint8]  # [H,W,3] RGB


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """Description of a metric; it exists whether or not the metric can be computed here."""

    name: str  # key in the JSON document
    column: str  # the paper's column; empty where the paper has none
    better: Literal["lower", "higher"]
    unit: str
    source: str  # paper with equation or table, and the implementation it follows
    needs: str  # files and packages, in words; empty where nothing
    aligned: bool = False  # compares pixels with the driver: same size, same person in the same place


@dataclass(frozen=True, slots=True)
class Missing:
    """The reason that a metric has no value, and the remedy that would give it one."""

    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Score:
    """A Score is a metric's value over the clip, with details."""

    value: float
    frames: int  # that counted
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class FramePair:
    """One frame of the result and the driver's frame of the same index."""

    index: int
    result: Picture
    driver: Picture
    result_face: Face | None
    driver_face: Face | None
    person: FloatArray | None  # [H,W] of the driver's size in [0,1], 1 = person; None: no metric asked for it

    @property
    def aligned(self) -> bool:
        """True if both pictures have one size."""
        return self.result.shape == self.driver.shape


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """The settings that the result was made with; all metrics get the same Request."""

    lighting: Lighting
    frames: int  # of the clip
    reference: Picture | None = None  # portrait of the person the result shows; None: the driver's own
    reference_face: Face | None = None
    person: Literal["same", "other"] = "same"  # whether the driver is the person of the result
    files: tuple[str, ...] = field(default_factory=tuple)  # folders searched for weights, first wins
    image_quality: str = "qalign"  # pyiqa's name of the model behind IQ


class Metric(Protocol):
    """Accumulates one number over a clip. Not for two threads at once."""

    @property
    def info(self) -> MetricInfo: ...

    def available(self) -> Missing | None:
        """Return the reason that it cannot run here, or None. Cheap: loads no model, imports no torch."""
        ...

    def load(self) -> None:
        """Load models. Raises ModelUnavailable where a file is damaged or a package does not import."""
        ...

    def update(self, pair: FramePair) -> None:
        """Take one pair. Frames come in order, without gaps."""
        ...

    def result(self) -> Score | Missing:
        """Return the value over all pairs taken."""
        ...


@dataclass(slots=True)
class RunningMean:
    """Mean, deviation and maximum by Welford's update, stable for any count; `mean` of nothing is NaN."""

    count: int = 0
    mean: float = math.nan
    worst: float = -math.inf  # the largest
    _squares: float = 0.0

    def add(self, value: float) -> None:
        """Take one number."""
        last = self.mean if self.count else 0.0
        self.count += 1
        self.mean = last + (value - last) / self.count
        self._squares += (value - last) * (value - self.mean)
        self.worst = max(self.worst, value)

    @property
    def std(self) -> float:
        """Population standard deviation; 0 for fewer than two numbers."""
        return math.sqrt(self._squares / self.count) if self.count > 1 else 0.0
