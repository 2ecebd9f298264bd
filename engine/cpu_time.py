"""CpuTimes sums the CPU time of this process by part of the work, whichever threads do it.

Wall times of a stage contain the wait for a core; CPU times say what a core did, so they can be added up and compared
between a quiet machine and a busy one.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil


class CpuTimes:
    """Sums CPU seconds by name. Every method may be called from any thread; `clock` is that of the calling thread."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._inner = threading.local()  # .s: what the parts inside the present one have taken

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count a block of code as `name`, also when it raises, without the parts that it contains."""
        before, self._inner.s = getattr(self._inner, "s", 0.0), 0.0
        start = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - start
            own = spent - self._inner.s
            self._inner.s = before + spent
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + own

    def seconds(self) -> dict[str, float]:
        """Return the CPU seconds so far, by name."""
        with self._lock:
            return dict(self._seconds)


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process of this machine has used. Raises psutil.Error where there is none."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


CPU = CpuTimes()  # of this process
