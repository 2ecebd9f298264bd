"""SIGTERM and Ctrl-C become a wish to stop, granted between two steps; the second one ends the program at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopWish:
    """`name` of the signal that came, or None."""

    def __init__(self) -> None:
        self.name: str | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator["StopWish"]:
        """Handlers are installed inside the block; elsewhere than in the main thread nothing is."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
