"""A mean and standard deviation of numbers that come one at a time (Welford 1962)."""

import math
from dataclasses import dataclass


@dataclass(slots=True)
class RunningMean:
    """Steady whatever the count; `mean` of nothing is NaN."""

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
