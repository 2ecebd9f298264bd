"""Tells whether anybody looks at the virtual camera, so that the real one is open only then.

v4l2loopback 0.13 and newer tell by an event; before that, the processes that have the device open are counted. OBS's
virtual camera (macOS, Windows) tells nobody: there the camera is open as long as the command runs.
"""

import platform
import threading
from collections.abc import Callable

from server.camera import v4l2

POLL_S = 0.5
LINGER_S = 3.0  # a meeting that changes its settings closes and opens the camera again


def count_readers(device: str) -> int | None:
    """Counts who reads the v4l2loopback `device`; None where that cannot be told."""
    if platform.system() != "Linux":
        return None
    try:
        with v4l2.Device(device) as opened:
            found = opened.readers()
        return v4l2.readers_by_process(device) if found is None else found
    except OSError:
        return None


class Readers:
    """Calls `want(bool)` as readers come and go; on a thread of its own, from `start` until `stop` is set."""

    def __init__(
        self,
        count: Callable[[], int | None],
        want: Callable[[bool], None],
        stop: threading.Event,
        poll_s: float = POLL_S,
    ) -> None:
        self._count, self._want, self._stop, self._poll_s = count, want, stop, poll_s
        self.counted = count() is not None

    def start(self) -> None:
        if not self.counted:
            self._want(True)
            return
        threading.Thread(target=self._watch, name="relight-readers", daemon=True).start()

    def _watch(self) -> None:
        left = 0
        while not self._stop.is_set():
            nobody = self._count() == 0  # where it cannot be told any more, the camera stays
            left = max(0, left - 1) if nobody else round(LINGER_S / POLL_S)
            self._want(left > 0)
            self._stop.wait(self._poll_s)
