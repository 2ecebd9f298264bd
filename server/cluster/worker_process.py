"""The inside of a worker process: its application on an event loop of its own thread, at a port of its own.

A worker often starts while others serve on the same cores. What takes it seconds there, imports and kernels that
numba loads, is done by a thread that gives way to theirs; those that serve later are started by another, since a thread
without privileges never gets its priority back.
"""

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from server.logs import configure
from server.rtc.bench.machine_cost import MachineCost
from server.settings import Settings

if TYPE_CHECKING:  # two seconds of imports: they are the starting thread's
    from engine.protocols import Engine

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 48 * 2**20  # of the front: a portrait in base64
STARTING_NICENESS = 10  # a tenth of the processor time that a thread which serves gets beside it


class WorkerProcess:
    """Serves from the moment it is made until the process ends. The class of a Ray actor."""

    def __init__(
        self,
        settings: Settings,
        secret: str,
        host: str,
        make: "Callable[[str], Engine] | None" = None,
        cost: MachineCost | None = None,
    ) -> None:
        configure(settings.log_level, settings.log_format)
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        run = (settings, secret, make, cost)
        threading.Thread(target=self._run, args=run, name="relight-worker", daemon=True).start()

    def _run(
        self,
        settings: Settings,
        secret: str,
        make: "Callable[[str], Engine] | None",
        cost: MachineCost | None,
    ) -> None:
        starting = threading.Thread(target=_load, args=[make], name="relight-start")
        starting.start()
        starting.join()
        import uvicorn

        from server.cluster.worker_app import create_worker_app
        from server.http.app import uvicorn_config

        app = create_worker_app(settings, secret, make, cost)
        uvicorn.Server(uvicorn_config(settings, app, log_level="warning")).run([self._listener])

    def address(self) -> tuple[str, int]:
        """Returns the address at which the worker listens, and the number of its process."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}", os.getpid()


def _load(make: "Callable[[str], Engine] | None") -> None:
    """Imports the application and warms up the engine that every server has, so that its own does it in no time."""
    if sys.platform == "linux":  # elsewhere a priority is the process's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), STARTING_NICENESS)
    import server.cluster.worker_app  # noqa: F401
    from engine import make_engine

    if make is not None:  # not our engines
        return
    try:
        engine = make_engine("ratio")
        engine.warmup()
        engine.close()
    except Exception as error:  # an engine's boundary: the one that participants get tells it, with its remedy
        logger.debug("the first warm-up failed: %s", error)
