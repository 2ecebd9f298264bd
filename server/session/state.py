"""The state that the routes and sessions of one application share: engines, sessions, metrics, the upload thread."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from engine import EngineConfig, make_engine
from engine.diffusion.config import LcvdConfig
from engine.protocols import Engine
from server.errors import Busy
from server.metrics import Metrics
from server.session.admission import Admission
from server.session.engines import Engines
from server.session.session import Session
from server.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

ENGINE_CLOSE_S = 1.0


class Server:
    """Holds engines, sessions and metrics, and the thread that keeps uploads off the event loop."""

    def __init__(self, settings: Settings, make: Callable[[str], Engine] | None = None) -> None:
        self.settings = settings
        config = EngineConfig(
            settings.models_dir,
            LcvdConfig(
                weights=settings.lcvd_weights,
                backend=settings.lcvd_backend,
                size=settings.lcvd_size,
                plans=settings.plans,
                decoder=settings.lcvd_decoder,
                precision=settings.lcvd_precision,
                batch=settings.lcvd_batch,
            ),
            settings.tracker,
        )
        self.engines = Engines(settings.engine, make or partial(make_engine, config=config), config, self._streams)
        self.sessions: dict[str, Session] = {}
        self.metrics = Metrics(lambda: [s for session in self.sessions.values() if (s := session.snapshot) is not None])
        self.admission = Admission(settings.max_sessions)
        self.stopping = False
        # One upload at a time: a second of numpy must not starve the pictures.
        self._uploads = ThreadPoolExecutor(1, "relight-upload")
        self._waiting = 0

    def _streams(self, engine: str) -> int:
        """Returns how many participants `engine` serves, or is to serve."""
        return sum(session.runs == engine for session in list(self.sessions.values()))

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Runs an upload's work on its own thread. Raises Busy when too many wait."""
        if self._waiting >= 4:
            raise Busy("other uploads are being read", "try again in a few seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._uploads, work)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Ends every session within the time allowed, then frees the engines."""
        self.stopping = True
        closing = [asyncio.ensure_future(session.close()) for session in list(self.sessions.values())]
        if closing:
            _, late = await asyncio.wait(closing, timeout=self.settings.shutdown_timeout_s)
            if late:
                logger.warning("%d sessions did not end in time", len(late))
        self._uploads.shutdown(wait=False, cancel_futures=True)
        freeing = threading.Thread(target=self.engines.close, name="relight-free", daemon=True)
        freeing.start()
        deadline_s = time.monotonic() + ENGINE_CLOSE_S
        while freeing.is_alive() and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)
