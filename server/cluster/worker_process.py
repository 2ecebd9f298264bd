"""The inside of a worker process: its application on an event loop of its own thread, at a port of its own."""

import os
import socket
import threading
from collections.abc import Callable

import uvicorn

from engine.protocols import Engine
from server.cluster.worker_app import create_worker_app
from server.http.app import uvicorn_config
from server.logs import configure
from server.rtc.bench.frame_cost import MachineCost
from server.settings import Settings

MAX_MESSAGE_BYTES = 48 * 2**20  # of the front: a portrait in base64


class WorkerProcess:
    """Serves from the moment it is made until the process ends. The class of a Ray actor."""

    def __init__(
        self,
        settings: Settings,
        secret: str,
        host: str,
        make: Callable[[str], Engine] | None = None,
        cost: MachineCost | None = None,
    ) -> None:
        configure(settings.log_level, settings.log_format)
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        app = create_worker_app(settings, secret, make, cost)
        server = uvicorn.Server(uvicorn_config(settings, app, log_level="warning"))
        threading.Thread(target=server.run, args=([self._listener],), name="relight-worker", daemon=True).start()

    def address(self) -> tuple[str, int]:
        """Returns the address at which the worker listens, and the number of its process."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}", os.getpid()
