"""Runs the server: binds, warms up, announces its address, and stops within five seconds of SIGTERM."""

import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.markup import escape

from engine import ENGINES
from engine.protocols import Engine
from server.http.app import create_app, uvicorn_config
from server.logs import configure
from server.session.engines import Engines
from server.settings import Settings, unknown_variables

JSON_HINT = """lists are JSON, as in RELIGHT_ALLOWED_ORIGINS='["https://example.org"]'"""


class _Server(uvicorn.Server):
    """Announces the page's address and the engine once that is warm and the socket open."""

    def __init__(self, config: uvicorn.Config, engines: Engines, url: str) -> None:
        super().__init__(config)
        self._engines, self._url = engines, url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        console = Console(soft_wrap=True, highlight=False)
        if self._engines.degraded_reason:
            console.print(f"[yellow]fallback:[/] {escape(self._engines.degraded_reason)} (see relight doctor)")
        engine = self._engines.camera_engine
        console.print(f"relight-live: engine [bold]{engine}[/] ready at [bold]{escape(self._url)}[/]")
        if (default := self._engines.default) != engine:
            console.print(f"[dim]{default} warms up in the background; portraits sent now are animated once it is[/]")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if not self.started:
            # The warm-up compiles for half a minute, or waits for a download: give it up. A thread of its own, since
            # a signal handler may not wait for locks.
            threading.Thread(target=self._engines.close, name="relight-free", daemon=True).start()


def run(overrides: dict[str, Any], make: Callable[[str], Engine] | None = None) -> int:
    """Serves until a signal; returns the exit status. `make(name)` builds engines (tests inject fakes)."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)

    def refuse(message: str, hint: str = "") -> int:
        console.print(f"[bold red]error:[/] {escape(message)}" + (f"\n[dim]try:[/] {escape(hint)}" if hint else ""))
        return 2

    try:
        settings = Settings(**overrides)
    except SettingsError as error:
        return refuse(f"{error}: {error.__cause__}", JSON_HINT)
    except ValidationError as error:
        for item in error.errors():
            field = ".".join(str(part) for part in item["loc"])
            value = "" if item["loc"][:1] == ("token",) else f" = {item.get('input')!r}"
            refuse(f"setting {field}{value}: {item['msg']}")
        return 2
    if settings.engine not in ENGINES:
        return refuse(f"engine {settings.engine!r} does not exist", f"one of {', '.join(ENGINES)}")
    for name in unknown_variables():
        console.print(f"[yellow]warning:[/] {escape(name)} is no setting of the server")
    configure(settings.log_level)
    # Bound and listening before the warm-up, so that a taken port is an error at once (two that are bound with
    # SO_REUSEADDR and not yet listening would not see each other) and a page opened early waits instead of failing.
    listener = None
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(128)
    except OSError as error:
        if listener is not None:
            listener.close()
        return refuse(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            "relight serve --port 0, or stop what uses the port",
        )
    shown = "localhost" if settings.host in ("127.0.0.1", "::1", "0.0.0.0", "::") else settings.host
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}"
    console.print(f"[dim]warming up engine {escape(settings.engine)} …[/]")
    app = create_app(settings, make)
    config = uvicorn_config(settings, app, log_level="debug" if settings.log_level == "debug" else "warning")
    server = _Server(config, app.state.server.engines, url)
    server.run(sockets=[listener])
    return 0 if server.started else 1
