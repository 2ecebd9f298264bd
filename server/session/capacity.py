"""The number of participants that this machine holds, by the size and rate of their pictures.

It follows from the cost of one picture (`server.rtc.bench.frame_cost`, measured at the start) and is corrected while
the server runs: by the process's CPU time over the cost expected of the pictures really sent. No sockets, no clock.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from server.rtc.bench.machine_cost import FrameCost, MachineCost, available_cores
from server.rtc.pictures.picture_cap import PictureCap
from server.settings import MAX_PLACES

USABLE = 0.7  # of the cores and of the device's time: the rest is for bursts, sounds, viewers and the page
CORRECTED_FRAMES = 1000  # pictures after which a changed cost counts for two thirds
LEAST_FRAMES = 10  # of one observation: below, what was idle work would count as theirs
CORRECTION = (0.25, 4.0)  # at most so far from what was measured
TOLD = tuple(PictureCap(*size, 30) for size in ((1280, 720), (640, 480), (480, 360), (320, 240)))


class Demand(NamedTuple):
    """What one participant's pictures need: their pixels, and how many come a second."""

    pixels: int
    fps: float


def unmeasured() -> MachineCost:
    """Returns the cost of the ratio engine as docs/scale.md has it, for a machine that could not be measured."""
    frames = (FrameCost(320 * 240, 0.016, 0.004), FrameCost(640 * 480, 0.031, 0.008), FrameCost(1280 * 720, 0.06, 0.02))
    return MachineCost(frames, available_cores())


class Capacity:
    """Holds the measured costs and their correction. On the event loop, but for `take`."""

    def __init__(self, measured: MachineCost | None = None) -> None:
        self.measured = measured or unmeasured()
        self.factor = 1.0  # real CPU time over the measured one
        self._frames, self._expected_s = 0, 0.0

    def take(self, measured: MachineCost) -> None:
        """Takes over what was measured; the correction, which is for what cannot be measured so, stays."""
        self.measured = measured

    @property
    def cores(self) -> float:
        """The cores that participants can keep busy."""
        return self.measured.cores

    def cpu_s(self, pixels: int) -> float:
        """Returns the CPU seconds of one picture, as corrected by now."""
        return self.factor * _between([(cost.pixels, cost.cpu_s) for cost in self.measured.frames], pixels)

    def load(self, demands: Iterable[Demand]) -> float:
        """Returns the part of this machine that `demands` need together; at 1 there is no room for more."""
        device = [(cost.pixels, cost.device_s) for cost in self.measured.frames]
        cpu = serial = 0.0
        for pixels, fps in demands:
            cpu += self.cpu_s(pixels) * fps
            serial += _between(device, pixels) * fps
        return max(cpu / self.cores, serial) / USABLE

    def places(self, cap: PictureCap) -> int:
        """Returns how many participants it holds whose pictures have this size and rate; 1 at least."""
        load = self.load([Demand(cap.pixels, cap.fps)])
        return max(1, min(MAX_PLACES, math.floor(1 / load))) if load > 0 else MAX_PLACES

    @property
    def by_cap(self) -> dict[PictureCap, int]:
        """The places at 30 pictures a second, for the sizes that are told."""
        return {cap: self.places(cap) for cap in TOLD}

    @property
    def table(self) -> dict[str, int]:
        """The places at 30 pictures a second, by size."""
        return {cap.size: places for cap, places in self.by_cap.items()}

    def sent(self, pixels: int) -> None:
        """Counts one picture that was handled and has left."""
        self._frames += 1
        self._expected_s += self.cpu_s(pixels) / self.factor

    def observe(self, cpu_s: float) -> None:
        """Takes the CPU seconds of the process since the last call, in which the pictures counted by `sent` left."""
        frames, expected_s = self._frames, self._expected_s
        self._frames, self._expected_s = 0, 0.0
        if frames < LEAST_FRAMES or expected_s <= 0:
            return
        ratio = min(max(cpu_s / expected_s, CORRECTION[0]), CORRECTION[1])
        self.factor += (ratio - self.factor) * (1 - math.exp(-frames / CORRECTED_FRAMES))


def _between(points: Sequence[tuple[int, float]], at: int) -> float:
    """Returns the value at `at` on the line through `points` (rising); below the first, that of the first."""
    if at <= points[0][0] or len(points) == 1:
        return points[0][1]
    (low, below), (high, above) = next((pair for pair in pairwise(points) if at <= pair[1][0]), points[-2:])
    return max(0.0, below + (above - below) * (at - low) / (high - low))
