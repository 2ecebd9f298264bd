"""Runs the server: binds, warms up, announces its address, and stops within five seconds of SIGTERM."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.markup import escape

from engine import ENGINES
from engine.protocols import Engine
from server.errors import StateError, WorkersUnavailable
from server.http.announcement import Announcement
from server.http.app import create_app, uvicorn_config
from server.logs import configure
from server.security.addresses import is_loopback
from server.security.certificate import tls_files
from server.session.engines import Engines
from server.settings import Settings, unknown_variables

SECRETS = ("token", "secret", "turn_secret", "ice_servers")  # settings whose value no error repeats
WHO_MAY_COME_IN = (
    "--private: everyone needs a link that expires, and yours is printed at the start; "
    "or set RELIGHT_TOKEN to a shared secret; or --open: everyone who reaches the port is admitted"
)
JSON_HINT = """lists are JSON, as in RELIGHT_ALLOWED_ORIGINS='["https://example.org"]'"""


@dataclass(frozen=True, slots=True)
class Service:
    """An application to serve, and what is said and done around it."""

    app: FastAPI
    greet: Callable[[Console, str], None]  # prints what runs, once it does, at this address
    give_up: Callable[[], None]  # ends a start under way; may wait


class _Server(uvicorn.Server):
    """Announces the page's address and what runs there once that is warm and the socket open."""

    def __init__(self, config: uvicorn.Config, service: Service, announcement: Announcement) -> None:
        super().__init__(config)
        self._service, self._announcement = service, announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        console = Console(soft_wrap=True, highlight=False)
        self._service.greet(console, self._announcement.urls[0])
        self._announcement.show(console, self._service.app.state.access)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if not self.started:
            # The warm-up compiles for half a minute, or waits for a download: give it up. A thread of its own, since
            # a signal handler may not wait for locks.
            threading.Thread(target=self._service.give_up, name="relight-free", daemon=True).start()


def one_process(settings: Settings, make: Callable[[str], Engine] | None = None) -> Service:
    """Returns the service of this process alone. `make(name)` builds engines (tests inject fakes)."""
    app = create_app(settings, make)
    engines: Engines = app.state.server.engines

    def greet(console: Console, url: str) -> None:
        if engines.degraded_reason:
            console.print(f"[yellow]fallback:[/] {escape(engines.degraded_reason)} (see relight doctor)")
        console.print(f"relight-live: engine [bold]{engines.camera_engine}[/] ready at [bold]{escape(url)}[/]")
        if (default := engines.default) != engines.camera_engine:
            console.print(f"[dim]{default} warms up in the background; portraits sent now are animated once it is[/]")

    return Service(app, greet, engines.close)


def run(
    overrides: dict[str, Any],
    make: Callable[[str], Engine] | None = None,
    *,
    front: Callable[[Settings], Service] | None = None,
) -> int:
    """Serves until a signal; returns the exit status. `make(name)` builds engines (tests inject fakes).

    `front` makes the service where the settings ask for workers.
    """
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
            if not field:  # of several settings together
                refuse(str(item["msg"]).removeprefix("Value error, "))
                continue
            value = "" if item["loc"][0] in SECRETS else f" = {item.get('input')!r}"
            refuse(f"setting {field}{value}: {str(item['msg']).removeprefix('Value error, ')}")
        return 2
    if settings.engine not in ENGINES:
        return refuse(f"engine {settings.engine!r} does not exist", f"one of {', '.join(ENGINES)}")
    for name in unknown_variables():
        console.print(f"[yellow]warning:[/] {escape(name)} is no setting of the server")
    if not (is_loopback(settings.host) or settings.asks_for_tokens or settings.open):
        return refuse(
            f"host {settings.host!r} admits other machines, and nothing says who may come in", WHO_MAY_COME_IN
        )
    configure(settings.log_level, settings.log_format)
    try:
        tls = tls_files(settings)
        service = front(settings) if front is not None and settings.workers else one_process(settings, make)
    except (StateError, WorkersUnavailable) as error:
        return refuse(error.message, error.hint)
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
    console.print(f"[dim]warming up engine {escape(settings.engine)} …[/]")
    config = uvicorn_config(
        settings,
        service.app,
        log_level="debug" if settings.log_level == "debug" else "warning",
        ssl_certfile=tls and tls.certificate,
        ssl_keyfile=tls and tls.key,
    )
    port = listener.getsockname()[1]
    server = _Server(config, service, Announcement(settings, port, tls.fingerprint if tls else ""))
    server.run(sockets=[listener])
    return 0 if server.started else 1
