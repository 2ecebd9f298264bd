"""Settings become a listening server: binds, warms up, says where it is, and stops within five seconds of SIGTERM."""

import socket
from typing import Any

import uvicorn
from pydantic import ValidationError
from rich.console import Console

from server.app import uvicorn_config
from server.logs import configure
from server.settings import Settings


class _Server(uvicorn.Server):
    """Says where the page is once the engine is warm and the socket open."""

    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            Console().print(self._announcement, highlight=False)


def run(overrides: dict[str, Any]) -> int:
    """Serve until a signal; returns the exit status."""
    console = Console(stderr=True)
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        for item in error.errors():
            field = ".".join(str(part) for part in item["loc"])
            console.print(
                f"[bold red]error:[/] setting {field} = {item.get('input')!r}: {item['msg']}", highlight=False
            )
        return 2
    configure(settings.log_level)
    # Bound before the warm-up, so that a taken port is told at once.
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        console.print(
            f"[bold red]error:[/] cannot listen on {settings.host}:{settings.port}: {error.strerror}\n"
            f"[dim]try:[/] relight serve --port 0, or stop what uses the port",
            highlight=False,
        )
        return 2
    shown = "localhost" if settings.host in ("127.0.0.1", "::1", "0.0.0.0", "::") else settings.host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    console.print(f"[dim]warming up engine {settings.engine} …[/]", highlight=False)
    level = "debug" if settings.log_level == "debug" else "warning"
    config = uvicorn_config(settings, log_level=level)
    server = _Server(config, f"relight-live: engine [bold]{settings.engine}[/] ready at [bold]{url}[/]")
    server.run(sockets=[listener])
    return 0 if server.started else 1
