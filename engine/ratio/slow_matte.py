"""SlowMatte runs a matte that takes longer than a frame on a thread of its own, for every stream of an engine.

The network is found, fetched if need be, and loaded on that thread too, so that neither the server's start nor a frame
waits for it. Where it cannot be had, that is said once in the log, and every answer is None.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from engine.cpu_time import CPU
from lcvd.errors import ModelUnavailable
from lcvd.protocols import Matte
from lcvd.types import FloatArray

log = logging.getLogger(__name__)

NICE = 10  # on busy cores frames come first: a look may as well end a little later

Answer = Future[FloatArray | None]  # the mask [h,w] in [0,1]; None: there is no network
Queue = SimpleQueue[tuple[NDArray[np.uint8], Answer] | None]


class SlowMatte:
    """Takes pictures from any thread and answers them one after the other. `make` is called with the first."""

    def __init__(self, make: Callable[[], Matte]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._queue: Queue | None = None  # of the thread that runs

    def ask(self, rgb: NDArray[np.uint8]) -> Answer:
        """Ask for the mask of `rgb` [H,W,3], which is only read. An answer that is cancelled costs nothing."""
        answer: Answer = Future()
        with self._lock:
            if self._queue is None:
                self._queue = SimpleQueue()
                # A daemon: a fetch that hangs must not keep the process from ending.
                threading.Thread(target=self._run, args=(self._queue,), name="relight-slow-matte", daemon=True).start()
            self._queue.put((rgb, answer))
        return answer

    def close(self) -> None:
        """End the thread once it is done with what it was asked; does not wait."""
        with self._lock:
            if self._queue is not None:
                self._queue.put(None)
                self._queue = None

    def _run(self, queue: Queue) -> None:
        _lower_priority()
        matte: Matte | None = None
        try:
            matte = self._make()
        except ModelUnavailable as error:
            log.warning("the person mask is not checked by a second network: %s; %s", error.message, error.hint)
        except Exception:  # the worker boundary: nobody may wait for ever
            log.exception("the person mask is not checked by a second network")
        while (asked := queue.get()) is not None:
            rgb, answer = asked
            if answer.set_running_or_notify_cancel():
                answer.set_result(_mask(matte, rgb) if matte is not None else None)
            del asked, rgb, answer  # an idle thread must not hold a picture


def _lower_priority() -> None:
    """Lower this thread's priority, where it is not that low already."""
    if sys.platform == "linux":  # elsewhere priorities are the process's
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))


def _mask(matte: Matte, rgb: NDArray[np.uint8]) -> FloatArray | None:
    try:
        with CPU.part("parts"):
            return matte(rgb)
    except Exception:  # the worker boundary: the thread serves others too
        log.exception("the person mask was not checked by the second network")
        return None
