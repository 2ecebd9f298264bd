"""Serves engines of a given delay, for `relight bench --loopback --av`: `-m server.cli.delayed_server 0.05 3`.

They are no rows of the table of engines: nobody wants to choose one.
"""

import sys

import uvicorn

from engine.bench.delayed import DelayedEngine
from engine.protocols import Engine
from server.http.app import create_app, uvicorn_config
from server.logs import configure
from server.settings import Settings


class _Server(uvicorn.Server):
    """Prints its address once it listens."""

    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        print(f"ready at http://{host}:{port}", flush=True)


def main(delays: list[float]) -> None:
    """Serves on a free port until a signal. A new session gets the first of `delays` (s)."""
    engines = {engine.name: engine for engine in map(DelayedEngine, delays)}
    first = next(iter(engines))

    def make(name: str) -> Engine:
        return engines.get(name, engines[first])

    settings = Settings(host="127.0.0.1", port=0, engine=first, max_sessions=4, step_down=False, log_level="warning")
    configure(settings.log_level, settings.log_format)
    app = create_app(settings, make)
    for name in engines:
        app.state.server.engines.device(name)  # in the menu from now on
    _Server(uvicorn_config(settings, app)).run()


if __name__ == "__main__":
    main([float(text) for text in sys.argv[1:]])
