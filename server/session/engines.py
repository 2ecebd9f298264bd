"""Runs the engines of this server: name → DeviceThread, made once, shared by every session.

A default that cannot start does not take the page down: its fallback runs, and `degraded_reason` says why. An engine
that shows avatars is not waited for: it warms up in the background while `camera_engine`, which lights whoever has no
portrait yet, is.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

from engine import EngineConfig, available_engines, avatar_fallback, camera_engines, fallbacks, make_engine
from engine.diffusion.latency import DEFAULT_QUALITY
from engine.errors import EngineError
from engine.live.controls import EnginePair
from engine.live.device import DeviceThread
from engine.precompile import AVATAR, PIXELS, begin, is_begun
from engine.protocols import Avatar, Engine, Prediction
from lcvd.errors import WeightsError
from lcvd.networks.student import least_steps_of, staggered_of
from lcvd.weights.location import weights_manifest
from server.errors import BadMessage, explain
from server.protocol import EngineChoice
from server.session.avatar_settings import DEFAULT_FPS
from server.settings import MAX_PLACES

logger = logging.getLogger(__name__)


class Running(NamedTuple):
    """The engine of a session's connection, by the name it was asked for, with its fallback."""

    name: str
    engine: EnginePair


class Engines:
    """Makes engines on demand. Methods that make or wait for one take their time: call them off the event loop.

    `requested` is what the operator configured, `default` what a new session gets, `camera_engine` what relights the
    camera of a session whose engine shows avatars while there is no portrait.
    """

    def __init__(
        self,
        default: str,
        make: Callable[[str], Engine] = make_engine,
        config: EngineConfig | None = None,  # of the menu; None: the defaults
        streams: Callable[[str], int] = lambda name: 0,  # live streams on an engine
    ) -> None:
        self.requested = self.default = self.camera_engine = default
        self._config = config or EngineConfig()
        self._unavailable = ""  # why the requested engine is not the default
        self._warmup_failure = ""  # why the default, which is not waited for, is not warm yet
        self._make = make
        self._streams = streams
        self._devices: dict[str, DeviceThread] = {}
        self._lock = threading.Lock()
        self._closed = False

    def device(self, name: str) -> DeviceThread:
        """Returns the shared device of engine `name`, made (and warming up on its own thread) if need be.

        Raises ValueError for an unknown name, EngineUnavailable for one that cannot run here.
        """
        with self._lock:
            if self._closed:
                raise BadMessage("the server is shutting down", "reload the page in a moment")
            if name not in self._devices:
                self._devices[name] = DeviceThread(self._make(name))
            return self._devices[name]

    def run(self, name: str, portrait: bool) -> Running:
        """Returns what a session that requested `name` runs on: no avatar before its portrait. Raises as `device`."""
        device = self.device(name)
        if not device.traits.shows_avatar:
            return Running(name, EnginePair(device))
        if not portrait:
            return Running(self.camera_engine, EnginePair(self.device(self.camera_engine)))
        return Running(name, EnginePair(device, self._fallback(name)))

    def _fallback(self, name: str) -> DeviceThread | None:
        """Returns the device that shows the avatars of `name` where that cannot; None: only still pictures do."""
        fallback = avatar_fallback(name)
        if fallback is None:
            return None
        try:
            return self.device(fallback)
        except Exception as error:  # an engine's boundary: without this one the portrait is shown
            logger.warning("engine %s has no fallback: %s", name, error)
            return None

    # ---- start and recovery

    def warm(self) -> None:
        """Returns once people can be relit: with the requested engine or a fallback. Raises the last one's error."""
        self.menu()  # may import torch, seconds long: here, and not at the first participant on the event loop
        self.default = self._first((self.requested, *fallbacks(self.requested)))
        self.camera_engine = self.default
        if not self._closed and self.device(self.default).traits.shows_avatar:
            self._fallback(self.default)  # warms up in the background, too
            threading.Thread(target=self._watch, name="relight-warm-up", daemon=True).start()
            self.camera_engine = self._first(camera_engines())
        if is_begun(PIXELS) and "avatar" not in self._devices:  # the first start here: its kernels are missing, too
            begin(AVATAR)

    def _first(self, names: tuple[str, ...]) -> str:
        """Returns the first of `names` that can run; raises what keeps the last from it."""
        error: Exception = EngineError("there is no engine")
        for name in names:
            failure = self._failure_of(name)
            if failure is None or self._closed:  # stopped meanwhile
                return name
            error = failure
            problem = explain(error)
            self._unavailable = self._unavailable or f"{name} cannot run: {problem.message}"
            logger.error("engine %s cannot run: %s; %s", name, problem.message, problem.hint, exc_info=error)
        raise error

    def _failure_of(self, name: str) -> Exception | None:
        """Returns why engine `name` cannot be used; None where it can. An avatar's may still be warming up."""
        try:
            device = self.device(name)
            if device.traits.shows_avatar:
                return None
            return _not_warm(device)
        except Exception as error:  # an engine's boundary: whatever keeps one from starting, the page works
            return error

    def _watch(self) -> None:
        """Logs when the default, which nobody waits for, is warm; keeps the reason where it is not."""
        name, device = self.default, self._devices[self.default]
        error = _not_warm(device)
        if error is None:
            logger.info("engine %s is warm", name)
        elif not self._closed:
            problem = explain(error)
            self._warmup_failure = f"{name} cannot run: {problem.message}"
            logger.error("engine %s is not warm: %s; %s", name, problem.message, problem.hint)

    @property
    def degraded_reason(self) -> str:
        """Says to the participant why the requested engine does not run; "" where it does."""
        device = self._devices.get(self.default)
        return self._unavailable or (self._warmup_failure if device is not None and not device.ready else "")

    @property
    def healthy(self) -> bool:
        """True where the requested engine is the default, and the best one there is lights the camera."""
        return self.default == self.requested and self.camera_engine in (self.requested, camera_engines()[0])

    def recover(self) -> bool:
        """Tries again what could not run; returns True when everything does."""
        if self.healthy or self._closed:
            return False
        for name in (camera_engines()[0], self.requested):
            if name in (self.default, self.camera_engine):
                continue
            try:
                device = self.device(name)
            except Exception as error:  # an engine's boundary: as in `warm`
                logger.debug("%s still cannot be made: %s", name, error)
                continue
            if device.traits.shows_avatar:
                self.default = name
                continue
            device.retry_warmup()
            if _not_warm(device) is not None:
                continue
            self.camera_engine = name
            if name == self.requested or not self.device(self.default).traits.shows_avatar:
                self.default = name
        if not self.healthy:
            return False
        logger.info("engine %s runs after all", self.requested)
        self._unavailable = ""
        return True

    @property
    def ready(self) -> bool:
        """True where people can be relit."""
        device = self._devices.get(self.camera_engine)
        return device is not None and device.ready and not self._closed

    # ---- what there is

    @property
    def devices(self) -> list[DeviceThread]:
        """The engines made so far."""
        return list(self._devices.values())

    def predict(self, avatar: Avatar, source_fps: float) -> Prediction | None:
        """Returns what `avatar` would cost now; None where no engine has measured itself.

        Raises ValueError for settings that no avatar can have.
        """
        for name, device in list(self._devices.items()):
            found = device.engine.predict(avatar, source_fps, max(1, self._streams(name)))
            if found is not None:
                return found
        return None

    def avatar_places(self) -> int | None:
        """Returns how many participants the default engine animates in time; None where it does not say."""
        device = self._devices.get(self.default)
        if device is None or not device.ready or not device.traits.shows_avatar:
            return None
        found = 0
        while found < MAX_PLACES:
            prediction = device.engine.predict(None, DEFAULT_FPS, found + 1)
            if prediction is None:
                return None
            if not prediction.keeps_up:
                break
            found += 1
        return max(1, found)

    @property
    def quality(self) -> str:
        """The name of the quality nearest to the predicting engine's own settings."""
        return next((device.engine.quality for device in self.devices if device.engine.quality), DEFAULT_QUALITY)

    @property
    def backend(self) -> str:
        """The backend that the networks of the predicting engine run on, or ""."""
        return next((device.engine.backend for device in self.devices if device.engine.backend), "")

    @property
    def staggered(self) -> bool:
        """True where the manifest of LCVD's weights, read now, says that they were trained for the staggered mode."""
        return staggered_of(weights_manifest(self._config.lcvd.weights))

    @property
    def least_steps(self) -> int:
        """The fewest steps that LCVD's weights are made for, by their manifest, read now; 1 where none can be read."""
        manifest = weights_manifest(self._config.lcvd.weights)
        try:
            return least_steps_of(manifest) if manifest else 1
        except WeightsError:
            return 1  # whoever loads them is told

    def menu(self) -> list[EngineChoice]:
        """Returns the engines that a participant may choose from, in the order of preference."""
        known = [EngineChoice(**asdict(info)) for info in available_engines(self._config)]
        names = {choice.name for choice in known}
        own = [
            EngineChoice(name=name, title=name, available=True, shows_avatar=device.traits.shows_avatar)
            for name, device in list(self._devices.items())
            if name not in names
        ]
        return known + own

    def require(self, name: str) -> None:
        """Raises BadMessage for an engine that does not exist or cannot run here."""
        menu = {choice.name: choice for choice in self.menu()}
        choice = menu.get(name)
        if choice is None:
            raise BadMessage(f"engine={name!r} does not exist", f"choose one of {', '.join(menu)}")
        if not choice.available:
            raise BadMessage(f"engine={name!r} cannot run here: {choice.reason}", "run `relight doctor` on the server")

    def close(self) -> None:
        """Frees every engine. Waits for renders under way."""
        with self._lock:
            self._closed = True
            devices = list(self._devices.values())
        for device in devices:
            device.close()


def _not_warm(device: DeviceThread) -> Exception | None:
    """Waits for `device` as long as its engine may take; returns why it is not warm, None where it is."""
    limit_s = device.traits.warmup_limit_s
    if device.wait_ready(limit_s):
        return None
    return device.error or EngineError(f"not ready after {limit_s:.0f} s")
