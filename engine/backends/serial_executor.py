"""A thread that runs a backend's calls one at a time, and is left behind when a call does not return.

CUDA graphs belong to the thread that recorded them (pytorch #123177), while the live core's device thread is replaced
when it hangs: so a backend is prepared and called here. Calls run under `torch.inference_mode()`.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class CallTimeout(RuntimeError):
    """A call did not return within its limit, an earlier one still has not, or the thread was closed."""


class SerialExecutor:
    """Runs calls one at a time on a thread of its own; `call` waits for the result and may come from any thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._last: Future[Any] | None = None
        self._closed = False
        # A daemon: a call that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"lcvd-{name}", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., T], *args: Any, limit_s: float | None = None) -> T:
        """Run `function(*args)` on the thread. Raises its exception; CallTimeout after `limit_s` or while one hangs."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:  # whoever took this thread for the present one just before would wait for ever
                raise CallTimeout(f"{self.name}: its thread was closed")
            if self._last is not None and not self._last.done():
                raise CallTimeout(f"{self.name}: an earlier call has not returned")
            self._last = future
            self._calls.put((future, function, args))
        try:
            return future.result(limit_s)
        except TimeoutError:
            if future.done():
                raise  # its own
            raise CallTimeout(f"{self.name}: did not return within {limit_s:.0f} s") from None
        finally:
            with self._lock:
                if future.done() and self._last is future:
                    self._last = None  # an exception kept here would hold the failed call's tensors

    def close(self) -> None:
        """End the thread once its present call has returned; does not wait."""
        with self._lock:
            self._closed = True
            self._calls.put(None)

    def _run(self) -> None:
        while (asked := self._calls.get()) is not None:
            future, function, args = asked
            try:
                with torch.inference_mode():
                    result = function(*args)
            except BaseException as error:  # the worker boundary: whoever called is told, whatever it was
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            del asked, future, function, args  # an idle thread must not hold a window's tensors
