"""Chooses the size and rate at which everybody's pictures are handled, so that all who are there fit."""

from collections.abc import Callable, Sequence

from server.rtc.pictures.picture_cap import PictureCap
from server.session.capacity import Capacity, Demand

# Pixels a second that are decoded of one source, beside others: who sends more stutters. Pages send up to the cap.
INTAKE_PX_S = 1.1 * 1920 * 1080 * 30
SHORT_INTAKE_PX_S = 1.2 * 1280 * 720 * 30  # of a machine that has much to do
MUCH_LOAD = 0.3  # at the first level
LEVELS = (
    PictureCap(1280, 720, 30, INTAKE_PX_S),
    PictureCap(640, 480, 30, SHORT_INTAKE_PX_S),
    PictureCap(480, 360, 24, SHORT_INTAKE_PX_S),
    PictureCap(320, 240, 15, SHORT_INTAKE_PX_S),
)
ASSUMED_PIXELS = 640 * 480  # of who has sent no picture yet
UP_LOAD = 0.85  # a milder level has to fit with room to spare …
UP_AFTER_S = 10.0  # … for so long, before it is taken: each change of size is seen


class StepDown:
    """The level of one server. It falls at once and rises one step at a time."""

    def __init__(self, capacity: Capacity, allowed: bool, clock: Callable[[], float]) -> None:
        """Where it is not `allowed`, everybody is handled at the first level."""
        self._capacity = capacity
        self._clock = clock
        self._levels = LEVELS if allowed else LEVELS[:1]
        self._fits_since_s: float | None = None
        self._alone = True
        self._much = False  # at the first level
        self.level = 0  # 0: the mildest

    @property
    def cap(self) -> PictureCap | None:
        """The cap of each participant; None for one who is alone at the mildest level: nobody else suffers."""
        if self.level:
            return LEVELS[self.level]
        return None if self._alone else LEVELS[0]._replace(intake_px_s=SHORT_INTAKE_PX_S) if self._much else LEVELS[0]

    @property
    def smallest(self) -> PictureCap:
        """The last cap before people wait."""
        return self._levels[-1]

    def update(self, sources: Sequence[int]) -> None:
        """Takes the pixels of the pictures that each participant sends (0: unknown yet), and chooses the level."""
        self._alone = len(sources) < 2
        self._much = self._load(LEVELS[0], sources) > MUCH_LOAD
        fitting = 0 if self._alone else self._fitting(sources)
        if fitting >= self.level:
            self.level, self._fits_since_s = fitting, None
        elif self._fits_since_s is None:
            self._fits_since_s = self._clock()
        elif self._clock() - self._fits_since_s >= UP_AFTER_S:
            self.level, self._fits_since_s = self.level - 1, None

    def _fitting(self, sources: Sequence[int]) -> int:
        """Returns the mildest level at which `sources` fit, else the last."""
        loads = [self._load(cap, sources) for cap in self._levels]
        fits = (load <= (1.0 if level >= self.level else UP_LOAD) for level, load in enumerate(loads))
        return next((level for level, fit in enumerate(fits) if fit), len(self._levels) - 1)

    def _load(self, cap: PictureCap, sources: Sequence[int]) -> float:
        return self._capacity.load(Demand(min(pixels or ASSUMED_PIXELS, cap.pixels), cap.fps) for pixels in sources)
