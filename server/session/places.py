"""The places of one server: how many there are, by what was set or measured, who has one, and at which size."""

import logging
import time
from collections.abc import Callable, Sequence

from engine.protocols import Engine
from server.errors import explain
from server.rtc.bench.frame_cost import MIDDLE, measure
from server.rtc.bench.machine_cost import MachineCost
from server.session.admission import Admission
from server.session.capacity import Capacity
from server.session.step_down import StepDown
from server.settings import Settings

logger = logging.getLogger(__name__)

OUTDATED_S = 600.0  # what was measured so long ago is measured again while nobody is there: neighbours come and go


class Places:
    """Keeps `admission.limit` at what this machine holds, where the operator has set no number."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._cpu_s = cpu_clock()
        self._measured_s: float | None = None
        self._of_fallback = False
        self.capacity = Capacity()
        self.steps = StepDown(self.capacity, settings.step_down, clock)
        fixed = settings.max_sessions
        self.admission = Admission(1 if fixed == "auto" else fixed, settings.max_waiting, clock)

    @property
    def table(self) -> dict[str, int]:
        """The places at 30 pictures a second, by size; {} where nothing was measured."""
        return self.capacity.table if self._measured_s is not None else {}

    @property
    def frame_cpu_s(self) -> float:
        """The CPU seconds of one picture of 640x480; 0 where nothing was measured."""
        return self.capacity.cpu_s(MIDDLE[0] * MIDDLE[1]) if self._measured_s is not None else 0.0

    @property
    def measured(self) -> MachineCost | None:
        """What was measured; None: nothing was, or with a fallback of the requested engine."""
        known = self._measured_s is not None and not self._of_fallback
        return self.capacity.measured if known else None

    @property
    def outdated(self) -> bool:
        """True where the capacity may be measured again: nobody is there, and the last time is long ago."""
        since_s = self._measured_s
        return since_s is not None and not len(self.admission) and self._clock() - since_s > OUTDATED_S

    def take(self, measured: MachineCost, of_fallback: bool = False) -> None:
        """Takes over what was measured on this machine, here or in another process."""
        self.capacity.take(measured)
        self._of_fallback = of_fallback
        self._measured_s = self._clock()

    def measure(self, engine: Engine, of_fallback: bool = False) -> None:
        """Measures what a picture costs with `engine`, where a setting asks for it and it is unknown. Never raises."""
        if self._settings.max_sessions != "auto" and not self._settings.step_down:
            return
        if self._measured_s is None or self.outdated:
            try:
                self.take(measure(engine, self._settings.cores), of_fallback)
            except Exception as error:  # the engine's boundary: a server that knows less of itself still serves
                logger.warning("the capacity could not be measured: %s", explain(error).message)
        self._cpu_s = self._cpu_clock()
        self._set_limit(None)
        if self._measured_s is None:
            return
        told = ", ".join(f"{size}: {places}" for size, places in self.capacity.table.items())
        logger.info("%d places; at 30 pictures a second this machine holds %s", self.admission.limit, told)

    def adapt(self, sources: Sequence[int], avatar_places: int | None) -> None:
        """Corrects the capacity by the CPU time since the last call, and chooses the size and rate of all pictures.

        `sources` are the pixels of each participant's own pictures; an avatar engine has `avatar_places`.
        """
        before_s, self._cpu_s = self._cpu_s, self._cpu_clock()
        self.capacity.observe(self._cpu_s - before_s)
        self.steps.update(sources)
        self._set_limit(avatar_places)

    def _set_limit(self, avatar_places: int | None) -> None:
        if self._settings.max_sessions == "auto":
            places = self.capacity.places(self.steps.smallest)
            self.admission.limit = places if avatar_places is None else min(places, avatar_places)
