"""The engines this server runs: name → EngineHost, made once, shared by every session.

A default that cannot start does not take the page down: the fallback runs, and `reason` says why.
"""

import logging
import threading
from collections.abc import Callable

from engine import LCVD_WEIGHTS, available_engines, make_engine
from engine.delay import Prediction
from engine.host import EngineHost
from engine.protocols import Avatar, Engine
from server.errors import BadMessage, explain
from server.protocol import EngineChoice

logger = logging.getLogger(__name__)

FALLBACKS = ("ratio", "passthrough")  # the next best to relight with, then the picture as it is
WARMUP_LIMIT_S = 300.0  # a cold numba cache takes 13 s; a slow network fetches the models in minutes


class Engines:
    """Makes hosts on demand. `warm` and `host` may wait for disk or compiler: call them off the event loop."""

    def __init__(
        self,
        default: str,
        make: Callable[[str], Engine] = make_engine,
        lcvd_weights: str = LCVD_WEIGHTS,
        streams: Callable[[str], int] = lambda name: 0,  # live streams on an engine
    ) -> None:
        self.asked = self.default = default
        self._lcvd_weights = lcvd_weights
        self.reason = ""  # why the default was replaced, for the participant
        self._make = make
        self._streams = streams
        self._hosts: dict[str, EngineHost] = {}
        self._lock = threading.Lock()
        self._closed = False

    def host(self, name: str) -> EngineHost:
        """The shared host of engine `name`, made (and warming up on its own thread) if need be.

        Raises ValueError for an unknown name, EngineUnavailable for one that cannot run here.
        """
        with self._lock:
            if self._closed:
                raise BadMessage("the server is shutting down", "reload the page in a moment")
            if name not in self._hosts:
                self._hosts[name] = EngineHost(self._make(name))
            return self._hosts[name]

    def warm(self) -> None:
        """Warm the default up and return once it can relight; fall back where it cannot."""
        self.menu()  # may import torch, seconds long: here, and not at the first participant on the event loop
        order = FALLBACKS[FALLBACKS.index(self.asked) + 1 :] if self.asked in FALLBACKS else FALLBACKS
        for name in (self.asked, *order):
            error = self._trouble(name)
            if error is None or self._closed:  # told to stop meanwhile
                self.default = name
                return
            if name == FALLBACKS[-1]:
                raise error
            problem = explain(error)
            self.reason = self.reason or f"{name} cannot run: {problem.message}"
            logger.error("engine %s cannot run: %s; %s", name, problem.message, problem.hint, exc_info=error)

    def _trouble(self, name: str) -> Exception | None:
        """Why engine `name` does not get warm; None where it does."""
        try:
            host = self.host(name)
            if host.wait_ready(WARMUP_LIMIT_S):
                return None
            return host.error or TimeoutError(f"not ready after {WARMUP_LIMIT_S:.0f} s")
        except Exception as error:  # the worker door: whatever keeps one engine from starting, the page works
            return error

    def recover(self) -> bool:
        """Try the engine that was asked for again, where a fallback runs: True when it is the default once more."""
        if self.default == self.asked or self._closed:
            return False
        try:
            host = self.host(self.asked)
        except Exception as error:  # the worker door: as in `warm`
            logger.debug("%s still cannot be made: %s", self.asked, error)
            return False
        host.rewarm()
        if not host.wait_ready(WARMUP_LIMIT_S):
            return False
        logger.info("engine %s runs after all", self.asked)
        self.default, self.reason = self.asked, ""
        return True

    @property
    def ready(self) -> bool:
        """The default engine is warm."""
        host = self._hosts.get(self.default)
        return host is not None and host.ready and not self._closed

    @property
    def hosts(self) -> list[EngineHost]:
        return list(self._hosts.values())

    def predict(self, avatar: Avatar, source_fps: float) -> Prediction | None:
        """What `avatar` would cost now; None where no engine has measured itself."""
        for name, host in list(self._hosts.items()):
            predict = getattr(host.engine, "predict", None)
            if predict is not None:
                found: Prediction | None = predict(avatar, source_fps, max(1, self._streams(name)))
                return found
        return None

    @property
    def backend(self) -> str:
        """What the networks of the predicting engine run on, or ""."""
        names = [getattr(host.engine, "backend_name", "") for host in self.hosts]
        return next((name for name in names if name), "")

    def menu(self) -> list[EngineChoice]:
        """What a participant may choose from."""
        known = [
            EngineChoice(name=info.name, title=info.title, available=info.available, reason=info.reason)
            for info in available_engines(self._lcvd_weights)
        ]
        names = {choice.name for choice in known}
        own = [EngineChoice(name=name, title=name, available=True) for name in self._hosts if name not in names]
        return known + own

    def close(self) -> None:
        """Free every engine. Waits for renders under way."""
        with self._lock:
            self._closed = True
            hosts = list(self._hosts.values())
        for host in hosts:
            host.close()
