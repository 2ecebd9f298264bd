"""Tells a worker that hangs from one that is only busy: loading a model, say. The clock is an argument."""

BUSY_FACTOR = 5  # a busy worker may be silent so many times longer
BUSY_CPU = 0.02  # of the time: less CPU than that is none


class Hang:
    """Judges one worker by its answers and by the CPU time that it uses meanwhile."""

    def __init__(self, timeout_s: float, now_s: float) -> None:
        self._timeout_s = timeout_s
        self._answered_s = self._looked_s = now_s
        self._cpu_s: float | None = None

    def answered(self, now_s: float) -> None:
        """Notes an answer."""
        self._answered_s = now_s
        self._cpu_s = None

    def silent(self, cpu_s: float | None, now_s: float) -> bool:
        """Returns True where a worker that does not answer hangs; `cpu_s` is the CPU time that it has used by now.

        One that used none between this look and the one before hangs; another one, or one of which that is unknown,
        has longer.
        """
        before_s, looked_s = self._cpu_s, self._looked_s
        self._cpu_s, self._looked_s = cpu_s, now_s
        silent_s = now_s - self._answered_s
        if cpu_s is None or before_s is None or silent_s < self._timeout_s:
            return silent_s >= BUSY_FACTOR * self._timeout_s
        return cpu_s - before_s < BUSY_CPU * (now_s - looked_s) or silent_s >= BUSY_FACTOR * self._timeout_s
