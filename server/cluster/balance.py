"""Finds the worker that has a participant too many: after another one died, was replaced, or lost its people."""

from collections.abc import Sequence

from server.cluster.worker import Worker

APART = 2  # places: a move that evens out less would be one back and forth
LASTING_S = 10.0  # who left may be about to come back; also the time between two moves


class Balance:
    """Looks at the workers again and again. No sockets, no clock."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def overfull(self, workers: Sequence[Worker], now_s: float) -> Worker | None:
        """Returns the fullest worker where another one has had `APART` places more free for `LASTING_S`; else None.

        While one is drained nobody is moved for the sake of balance, and nobody is who has a worker alone.
        """
        fullest = _fuller(workers)
        if fullest is None:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        elif now_s - self._since_s >= LASTING_S:
            self._since_s = now_s
            return fullest
        return None


def _fuller(workers: Sequence[Worker]) -> Worker | None:
    """Returns the fullest worker where another one has `APART` places more free now; else None."""
    able = [worker for worker in workers if worker.available]
    if len(able) < 2 or any(worker.draining for worker in workers):
        return None
    fullest = min(able, key=lambda worker: worker.free)
    apart = max(worker.free for worker in able) - fullest.free
    return fullest if len(fullest.sessions) > 1 and apart >= APART else None
