"""The thread that holds the camera: open while it is wanted, tried again while it is away."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal

from lcvd.errors import HintedError
from server.camera.sources import Rgb, Source

logger = logging.getLogger(__name__)

State = Literal["off", "opening", "live", "away"]
RETRY_S = 1.0
SILENT_S = 2.0  # a camera that gives no picture for this long is away, whatever its driver says
JOIN_S = 2.0


class Feed:
    """Reads a source on a thread of its own and hands each picture to `submit(rgb, t_s)`.

    `open_source` raises a HintedError where the camera cannot be had; it is tried again every `retry_s`.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        submit: Callable[[Rgb, float], None],
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        retry_s: float = RETRY_S,
    ) -> None:
        self.error: HintedError | None = None  # why it is away
        self.opened = 0  # times
        self._open_source, self._submit, self._stop = open_source, submit, stop
        self._clock, self._retry_s = clock, retry_s
        self._state: State = "off"
        self._wanted = threading.Event()
        self._changed = threading.Event()
        self._frame_s = 0.0
        self._thread = threading.Thread(target=self._run, name="relight-camera", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def state(self) -> State:
        """The camera's state; one that has been silent for too long is away."""
        if self._state == "live" and self._clock() - self._frame_s > SILENT_S:
            return "away"
        return self._state

    def want(self, on: bool) -> None:
        """Opens the camera, or gives it back: its lamp goes out."""
        if on:
            self._wanted.set()
        else:
            self._wanted.clear()

    def join(self) -> None:
        """Waits for the thread, once `stop` is set; a driver that does not return is left behind."""
        self._wanted.set()  # it may wait for that
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._wanted.is_set():
                self._state = "off"
                self._wanted.wait()
                continue
            try:
                self._read()
            except HintedError as error:
                if not self._stop.is_set():
                    self._away(error)
            except Exception:  # the thread's boundary: a camera's driver or decoder must not end the call
                logger.exception("the camera cannot be read")
                self._away(HintedError("the camera cannot be read", "the line above has the details"))

    def _away(self, error: HintedError) -> None:
        self.error, self._state = error, "away"
        self._stop.wait(self._retry_s)

    def _read(self) -> None:
        if self._state == "off":
            self._state = "opening"
        source = self._open_source()
        self.opened += 1
        try:
            for rgb, t_s in source.frames():
                if self._stop.is_set() or not self._wanted.is_set():
                    return
                self._submit(rgb, t_s)
                self.error, self._frame_s, self._state = None, self._clock(), "live"
        finally:
            source.close()
