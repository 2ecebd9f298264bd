"""What starts worker processes for a front. The product's own is `server.cluster.ray_launcher`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Launched:
    """A worker process that listens. `kill` ends it at once, also one that hangs; it may block."""

    url: str  # http://ADDRESS:PORT
    place: str  # the node, for the operator
    kill: Callable[[], None]


class Launcher(Protocol):
    """Starts workers. Its methods block; the front calls them on threads."""

    def start(self) -> int:
        """Makes ready to launch; returns how many workers are wanted. Raises ServerError."""
        ...

    def launch(self, number: int) -> Launched:
        """Starts worker `number` and returns once it listens; its engine may still warm up. Raises ServerError."""
        ...

    def stop(self) -> None:
        """Frees everything, the workers too."""
        ...
