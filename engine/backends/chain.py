"""The fastest backend that works here, and the next one when it stops working.

Each is made, warmed up and compared with eager (`engine.backends.parity`) within its time limit; what fails is
passed over with its reason. One whose calls raise twice in a row (out of memory, a CUDA error) or hang is given up
while running, and the next is prepared. What `encode` gives (EncodedReference) must be readable by every one of them.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.backends.eager import EagerBackend
from engine.backends.options import BACKENDS
from engine.backends.parity import require_parity
from engine.backends.serial_executor import CallTimeout, SerialExecutor
from engine.errors import EngineError, EngineUnavailable
from engine.protocols import Backend, DenoiseRequest, DenoiseResult
from lcvd.model import LcvdModel

log = logging.getLogger(__name__)

AUTO_CUDA = ("tensorrt", "compiled", "eager")
AUTO_CPU = ("eager",)  # inductor takes minutes to compile for a CPU: by name only
LIMITS_S: Mapping[str, float] = {
    "tensorrt": 300.0,  # reads a plan; building one is `relight engine build`
    "torch-tensorrt": 900.0,
    "onnx": 300.0,
    "compiled": 900.0,
    "eager": 120.0,
}
TRIES = 2  # calls in a row that may raise
GRACE_S = 5.0  # a call waits so long for the next backend: eager is ready by then, and below the live core's HANG_S


def chain_names(name: str, device_type: str) -> tuple[str, ...]:
    """Backends to try, best first. ValueError names the legal ones."""
    if name not in BACKENDS:
        raise ValueError(f"backend={name!r} does not exist; choose one of {', '.join(BACKENDS)}")
    if name == "auto":
        return AUTO_CUDA if device_type == "cuda" else AUTO_CPU
    return (name,) if name == "eager" else (name, "eager")


def chain_limit_s(names: Sequence[str]) -> float:
    """Return the seconds that preparing may take at worst."""
    return sum(LIMITS_S[name] for name in names)


@dataclass(slots=True, eq=False)
class _ActiveBackend:
    """The backend that runs, and what takes its place when it fails."""

    backend: Backend
    executor: SerialExecutor
    rest: tuple[str, ...]  # names of those that come after it
    failures: int = 0


class BackendChain:
    """Backend (protocol) around the one that runs. `name` is its name, `reasons` why earlier ones do not."""

    def __init__(
        self,
        model: LcvdModel,
        names: Sequence[str],
        make: Callable[[str, LcvdModel], Backend],
        limits_s: Mapping[str, float] = LIMITS_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self.reasons: list[str] = []
        self._model, self._names, self._make = model, tuple(names), make
        self._limits_s, self._grace_s = limits_s, grace_s
        self._shapes: tuple[int, int, Sequence[int], Sequence[int]] | None = None
        self._active: _ActiveBackend | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """The name of the backend that runs; empty before the warm-up and between two."""
        active = self._active
        return "" if active is None else active.backend.name

    def warmup(self, size: int, frames: int, branches: Sequence[int], batches: Sequence[int]) -> None:
        """Prepare the first backend that works. Raises EngineUnavailable with all reasons where none does."""
        if self._active is None:
            self.reasons, self._shapes = [], (size, frames, branches, batches)
            self._activate_first(self._names)

    def encode(self, rgb: NDArray[np.uint8], mask: NDArray[np.generic], noise: Any) -> Any:
        """See Backend."""
        return self._call("encode", rgb, mask, noise)

    def features(self, hints: NDArray[np.uint8]) -> Any:
        """See Backend."""
        return self._call("features", hints)

    def denoise(self, requests: Sequence[DenoiseRequest]) -> list[DenoiseResult]:
        """See Backend."""
        results: list[DenoiseResult] = self._call("denoise", requests)
        return results

    def decode(self, latents: Any) -> NDArray[np.uint8]:
        """See Backend."""
        pictures: NDArray[np.uint8] = self._call("decode", latents)
        return pictures

    def close(self) -> None:
        """Let the networks go; a call that hangs is left behind."""
        with self._lock:
            active, self._active, self._closed = self._active, None, True
        if active is not None:
            active.executor.close()

    def _activate_first(self, names: tuple[str, ...]) -> None:
        for i, name in enumerate(names):
            executor = SerialExecutor(name)
            try:
                backend = executor.call(self._prepared, name, limit_s=self._limits_s[name])
            except Exception as error:  # the worker boundary: whatever keeps one backend from starting, the next may
                log.warning("backend %s is not used", name, exc_info=error)
                executor.close()
                self.reasons.append(f"{name}: {_reason_of(error)}")
                del error
                _free_memory()
                continue
            with self._lock:
                if not self._closed:
                    self._active = _ActiveBackend(backend, executor, names[i + 1 :])
                    return
            executor.close()
            return
        raise EngineUnavailable(
            f"None of LCVD's backends works here ({'; '.join(self.reasons)})", "the log has the details"
        )

    def _prepared(self, name: str) -> Backend:
        assert self._shapes is not None
        size, frames, branches, batches = self._shapes
        backend = self._make(name, self._model)
        backend.warmup(size, frames, branches, batches)
        if name != "eager":
            for each in require_parity(backend, EagerBackend(self._model), size, frames):
                log.info("backend %s: %s", name, each)
        return backend

    def _call(self, method: str, *args: Any) -> Any:
        while True:
            active = self._active
            if active is None:
                why = self.reasons[-1] if self.reasons else "it is not warmed up"
                raise EngineUnavailable(f"The avatar's networks are being prepared ({why}).", "wait a moment")
            try:
                result = active.executor.call(getattr(active.backend, method), *args)
            except RuntimeError as error:  # out of memory and CUDA errors are RuntimeErrors; bad input is not
                active.failures += 1
                if active.failures < TRIES and not isinstance(error, CallTimeout):
                    log.warning("backend %s: %s failed and is tried again", active.backend.name, method, exc_info=error)
                elif active.rest:
                    self._drop(active, error)
                else:
                    active.failures = 0
                    raise
            else:
                active.failures = 0
                return result
            _free_memory()  # outside the handler: the exception holds the failed call's tensors

    def _drop(self, active: _ActiveBackend, error: Exception) -> None:
        """Give the backend that runs up; wait a little for the next."""
        with self._lock:
            if self._active is not active:
                return
            self._active = None
            self.reasons.append(f"{active.backend.name}: {_reason_of(error)}")
        log.error("backend %s is given up", active.backend.name, exc_info=error)
        active.executor.close()
        activating = threading.Thread(
            target=self._activate_later, args=(active.rest,), name="lcvd-activate", daemon=True
        )
        activating.start()
        activating.join(self._grace_s)

    def _activate_later(self, rest: tuple[str, ...]) -> None:
        try:
            self._activate_first(rest)
        except EngineUnavailable as error:  # every call says so
            log.error("%s", error.message)


def _reason_of(error: Exception) -> str:
    if isinstance(error, EngineError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__} {lines[0][:200]}".strip()


def _free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
