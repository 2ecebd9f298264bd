"""What starts worker processes for a front. The product's own is `server.cluster.ray_launcher`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import psutil

from engine.cpu_time import process_cpu_s
from server.rtc.bench.machine_cost import MachineCost


@dataclass(frozen=True, slots=True)
class Launched:
    """A worker process that listens. `kill` ends it at once, also one that hangs; it may block."""

    url: str  # http://ADDRESS:PORT
    place: str  # the node, for the operator
    kill: Callable[[], None]
    cpu_s: Callable[[], float | None]  # seconds of CPU that it has used; None: unknown, as on another node


def cpu_of(pid: int) -> float | None:
    """Returns the seconds of CPU that a process of this machine has used; None where there is no such process."""
    try:
        return process_cpu_s(pid)
    except psutil.Error:
        return None


class Launcher(Protocol):
    """Starts workers. Its methods block; the front calls them on threads."""

    count: int  # workers that are wanted

    @property
    def one_machine(self) -> bool:
        """True where all workers run on the same machine."""
        ...

    def launch(self, number: int, cost: MachineCost | None) -> Launched:
        """Starts worker `number` and returns once it listens; its engine may still warm up. Raises ServerError.

        It takes `cost` for what a picture costs there; None: it measures that itself.
        """
        ...

    def stop(self) -> None:
        """Frees everything, the workers too."""
        ...
