"""The engines this server runs: name → EngineHost, made once, shared by every session.

A default that cannot start does not take the page down: the next best runs, and `reason` says why. An engine that shows
avatars is not waited for: it warms up behind while the engine that lights whoever has no portrait yet (`stopgap`) is.
"""

import logging
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

from engine import EngineConfig, available_engines, avatar_fallback, camera_engines, fallbacks, make_engine
from engine.diffusion.latency import DEFAULT_QUALITY
from engine.errors import EngineError
from engine.live.device import EngineHost
from engine.protocols import Avatar, Engine, Prediction
from lcvd.weights.location import weights_manifest
from server.errors import BadMessage, explain
from server.protocol import EngineChoice

logger = logging.getLogger(__name__)


class Running(NamedTuple):
    """What a session's connection runs on."""

    name: str
    host: EngineHost
    standby: EngineHost | None  # stands in for `host`, where that shows an avatar


class Engines:
    """Makes hosts on demand. Methods that make or wait for one take their time: call them off the event loop."""

    def __init__(
        self,
        default: str,
        make: Callable[[str], Engine] = make_engine,
        config: EngineConfig | None = None,  # what the menu is asked for; None: the defaults
        streams: Callable[[str], int] = lambda name: 0,  # live streams on an engine
    ) -> None:
        self.asked = self.default = self.stopgap = default
        self._config = config or EngineConfig()
        self._reason = ""
        self._late = ""  # why the default, which is not waited for, is not warm yet
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

    def run(self, name: str, portrait: bool) -> Running:
        """What a session runs on that asked for engine `name`: until it has a portrait, no avatar. Raises as `host`."""
        host = self.host(name)
        if not host.engine.traits.shows_avatar:
            return Running(name, host, None)
        if not portrait:
            return Running(self.stopgap, self.host(self.stopgap), None)
        return Running(name, host, self._standby(name))

    def _standby(self, name: str) -> EngineHost | None:
        """The host that stands in for avatars of `name`; None: only stills do."""
        fallback = avatar_fallback(name)
        if fallback is None:
            return None
        try:
            return self.host(fallback)
        except Exception as error:  # the worker door: without it the portrait stands in
            logger.warning("no engine stands in for %s: %s", name, error)
            return None

    # ---- start and recovery

    def warm(self) -> None:
        """Return once people can be relit: with what was asked for, or the next best."""
        self.menu()  # may import torch, seconds long: here, and not at the first participant on the event loop
        self.default = self._first((self.asked, *fallbacks(self.asked)))
        self.stopgap = self.default
        if not self._closed and self.host(self.default).engine.traits.shows_avatar:
            self._standby(self.default)  # warms up behind, too
            threading.Thread(target=self._watch, name="relight-warm-up", daemon=True).start()
            self.stopgap = self._first(camera_engines())

    def _first(self, names: tuple[str, ...]) -> str:
        """The first of `names` that can run; raises what keeps the last from it."""
        error: Exception = EngineError("there is no engine")
        for name in names:
            trouble = self._trouble(name)
            if trouble is None or self._closed:  # told to stop meanwhile
                return name
            error = trouble
            problem = explain(error)
            self._reason = self._reason or f"{name} cannot run: {problem.message}"
            logger.error("engine %s cannot run: %s; %s", name, problem.message, problem.hint, exc_info=error)
        raise error

    def _trouble(self, name: str) -> Exception | None:
        """Why engine `name` cannot be used; None where it can, be it that an avatar's is warm later."""
        try:
            host = self.host(name)
            if host.engine.traits.shows_avatar:
                return None
            return _not_warm(host)
        except Exception as error:  # the worker door: whatever keeps one engine from starting, the page works
            return error

    def _watch(self) -> None:
        """Say when the default, which nobody waits for, is warm, or that it is late."""
        name, host = self.default, self._hosts[self.default]
        error = _not_warm(host)
        if error is None:
            logger.info("engine %s is warm", name)
        elif not self._closed:
            problem = explain(error)
            self._late = f"{name} cannot run: {problem.message}"
            logger.error("engine %s is not warm: %s; %s", name, problem.message, problem.hint)

    @property
    def reason(self) -> str:
        """Why something else runs than what was asked for, for the participant; "" where it does not."""
        host = self._hosts.get(self.default)
        return self._reason or (self._late if host is not None and not host.ready else "")

    @property
    def whole(self) -> bool:
        """What was asked for runs, and what lights the camera in its place is the best there is."""
        return self.default == self.asked and self.stopgap in (self.asked, camera_engines()[0])

    def recover(self) -> bool:
        """Try again what could not run: True when everything does."""
        if self.whole or self._closed:
            return False
        for name in (camera_engines()[0], self.asked):
            if name in (self.default, self.stopgap):
                continue
            try:
                host = self.host(name)
            except Exception as error:  # the worker door: as in `warm`
                logger.debug("%s still cannot be made: %s", name, error)
                continue
            if host.engine.traits.shows_avatar:
                self.default = name
                continue
            host.rewarm()
            if _not_warm(host) is not None:
                continue
            self.stopgap = name
            if name == self.asked or not self.host(self.default).engine.traits.shows_avatar:
                self.default = name
        if not self.whole:
            return False
        logger.info("engine %s runs after all", self.asked)
        self._reason = ""
        return True

    @property
    def ready(self) -> bool:
        """People can be relit."""
        host = self._hosts.get(self.stopgap)
        return host is not None and host.ready and not self._closed

    # ---- what there is

    @property
    def hosts(self) -> list[EngineHost]:
        return list(self._hosts.values())

    def predict(self, avatar: Avatar, source_fps: float) -> Prediction | None:
        """What `avatar` would cost now; None where no engine has measured itself. ValueError: it cannot be made."""
        for name, host in list(self._hosts.items()):
            found = host.engine.predict(avatar, source_fps, max(1, self._streams(name)))
            if found is not None:
                return found
        return None

    @property
    def quality(self) -> str:
        """The stop nearest to what the predicting engine does when nobody asks."""
        return next((host.engine.quality for host in self.hosts if host.engine.quality), DEFAULT_QUALITY)

    @property
    def backend(self) -> str:
        """What the networks of the predicting engine run on, or ""."""
        return next((host.engine.backend for host in self.hosts if host.engine.backend), "")

    @property
    def staggered(self) -> bool:
        """True where the manifest of LCVD's weights, read now, says that they were trained for the staggered mode."""
        manifest = weights_manifest(self._config.lcvd.weights)
        if not manifest or find_spec("torch") is None:  # torch comes with the import below; without it no LCVD runs
            return False
        from lcvd.networks.student import staggered_of

        return staggered_of(manifest)

    def menu(self) -> list[EngineChoice]:
        """What a participant may choose from."""
        known = [
            EngineChoice(
                name=info.name,
                title=info.title,
                available=info.available,
                reason=info.reason,
                shows_avatar=info.needs_portrait,
            )
            for info in available_engines(self._config)
        ]
        names = {choice.name for choice in known}
        own = [
            EngineChoice(name=name, title=name, available=True, shows_avatar=host.engine.traits.shows_avatar)
            for name, host in list(self._hosts.items())
            if name not in names
        ]
        return known + own

    def close(self) -> None:
        """Free every engine. Waits for renders under way."""
        with self._lock:
            self._closed = True
            hosts = list(self._hosts.values())
        for host in hosts:
            host.close()


def _not_warm(host: EngineHost) -> Exception | None:
    """Wait for `host`; why it is not warm after the time its engine may take."""
    limit_s = host.engine.traits.warmup_limit_s
    if host.wait_ready(limit_s):
        return None
    return host.error or EngineError(f"not ready after {limit_s:.0f} s")
