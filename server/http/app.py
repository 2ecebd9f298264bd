"""The application: page, HTTP routes, and the WebSocket that opens a Session.

`create_app` builds all of it from Settings; engines can be injected by tests. The event loop never computes: engine
warm-up, image decoding and light estimation run on threads of their own, encoders have the loop's pool to themselves.
"""

import asyncio
import logging
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from engine.protocols import Engine
from server import VERSION
from server.errors import Busy, NoSession, NotReady, ServerError, explain
from server.http.access import AccessControl, chosen_subprotocol
from server.http.debug import router as debug_router
from server.http.links import router as links_router
from server.http.middleware import install_middleware
from server.http.routes import router
from server.http.scopes import methods_at, needs
from server.http.viewing import viewing_router
from server.http.whep import router as whep_router
from server.http.whip import router as whip_router
from server.logs import session_id
from server.protocol import ErrorReply
from server.rtc import codecs
from server.rtc.pictures import hardware
from server.security.grant import Grant
from server.session.control import Control
from server.session.session import Session
from server.session.state import Server
from server.session.tasks import Tasks
from server.settings import Settings

logger = logging.getLogger(__name__)

RECOVER_EVERY_S = 60.0
ADAPT_EVERY_S = 1.0


Beside = Callable[[Session, WebSocket], Coroutine[Any, Any, None]]
Inner = Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]


def create_app(
    settings: Settings | None = None, make: Callable[[str], Engine] | None = None, *, beside: Beside | None = None
) -> FastAPI:
    """Returns the application. `make(name)` builds engines (tests inject fakes). `app.state.server` is the Server.

    `beside` runs as long as a session of its own socket does (`server.cluster.worker_app`).
    """
    settings = settings or Settings()
    server = Server(settings, make)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        codecs.tune()
        # aiortc encodes on the loop's default pool: room for a picture and a sound of everyone, for those of the
        # viewers (two codecs, one sound), and what else comes.
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(5 * settings.most_places + 4, "relight-encode")
        )
        await asyncio.to_thread(hardware.choose, settings.h264_encoder)
        await asyncio.to_thread(server.engines.warm)
        if server.engines.ready:  # not where it was stopped meanwhile
            logger.info("engine %s is warm", server.engines.camera_engine)
            await asyncio.to_thread(server.measure)
        tasks = [asyncio.create_task(work(server)) for work in (_recover, _adapt)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await server.close()

    app = assemble(server, lifespan, websocket)
    app.state.beside = beside
    return app


def assemble(
    server: Any,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    socket: Callable[[WebSocket], Awaitable[None]],
    inner: Inner | None = None,
    first: APIRouter | None = None,
) -> FastAPI:
    """Returns an application with every route, the page, access control, and `socket` for /ws.

    `inner` sees each request that access control has admitted, before its route does; routes of `first` come before
    others of the same path.
    """
    settings: Settings = server.settings
    app = FastAPI(
        title="relight-live",
        version=VERSION,
        description="Light people in video calls, live. The WebSocket /ws is described in docs/protocol.md.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # a route of our own
    )
    app.state.server = server
    if inner is not None:
        app.middleware("http")(inner)
    install_middleware(app)
    if first is not None:
        app.include_router(first)
    for each in (router, debug_router, links_router, viewing_router, whip_router, whep_router):
        app.include_router(each)
    app.add_api_websocket_route("/ws", socket)
    _add_page(app, settings.client_dir)
    return app


async def _recover(server: Server) -> None:
    """Tries again, once a minute, an engine that could not run at the start (no network for its models, say)."""
    while not server.engines.healthy:
        await asyncio.sleep(RECOVER_EVERY_S)
        await asyncio.to_thread(server.engines.recover)


async def _adapt(server: Server) -> None:
    """Corrects, once a second, what the server knows of its capacity; gives freed memory back."""
    while True:
        await asyncio.sleep(ADAPT_EVERY_S)
        if server.places.outdated:
            await asyncio.to_thread(server.measure)
        server.adapt()
        await server.freed_memory.give_back()


def uvicorn_config(settings: Settings, app: ASGIApp | None = None, **changes: Any) -> uvicorn.Config:
    """Returns uvicorn's configuration: message limits, heartbeat, and an end within 5 s of SIGTERM."""
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,  # the CLI configures logging
        "access_log": False,
        "ws": AbortingWebSocket,
        "ws_max_size": settings.max_message_bytes,
        "ws_ping_interval": 10.0,
        "ws_ping_timeout": 10.0,
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": 1,
        "timeout_keep_alive": 5,
        "server_header": False,
    }
    return uvicorn.Config(app or create_app(settings), **{**options, **changes})


@needs("control")
async def websocket(socket: WebSocket) -> None:
    """Runs one Session on `socket` until either side ends it, or controls the one named by `?session=`.

    A refused socket gets the reason and is closed.
    """
    server: Server = socket.app.state.server
    await socket.accept(chosen_subprotocol(socket.headers))
    named = socket.query_params.get("session")
    try:
        grant = _check_socket(server, socket)
        session = server.new_session() if named is None else _published(server, named)
    except ServerError as refusal:
        await refuse(socket, refusal, 1013 if isinstance(refusal, Busy) else 1008)
        return
    session_id.set(session.id)
    server.metrics.sockets.inc()
    control = Control(socket, server.settings, grant)
    beside: Beside | None = socket.app.state.beside
    tasks = Tasks("a control socket")
    lost = False
    try:
        session.attach(control)
        if beside is not None and named is None:
            tasks.spawn(beside(session, socket))
        lost = await _converse(socket, session, control) not in LEFT
    finally:
        server.metrics.sockets.dec()
        session.detach(control)
        await tasks.cancel()
        try:
            if named is None:
                await (server.lose(session) if lost else server.end(session))
        finally:
            await control.close()


async def refuse(socket: WebSocket, refusal: ServerError, code: int) -> None:
    """Says why `socket` gets no session, and closes it. It was accepted first: only an open socket can say why."""
    socket.app.state.server.metrics.refused.labels(refusal.code).inc()
    await socket.send_text(ErrorReply.about(explain(refusal)).text())
    await socket.close(code, refusal.code)


def _check_socket(server: Server, socket: WebSocket) -> Grant:
    """Returns what `socket` may do. Raises why it gets no session."""
    access: AccessControl = socket.app.state.access
    grant = access.check(socket.headers, "control", address=socket.client.host if socket.client is not None else "")
    if server.stopping:
        raise NotReady("the server is shutting down", "reload the page in a moment")
    if len(server.sessions) >= server.settings.max_sockets:
        raise Busy(f"{len(server.sessions)} pages are open already", "close some, or try again later")
    return grant


def _published(server: Server, name: str) -> Session:
    """Returns the session of this name that came by WHIP. Raises NoSession."""
    publication = server.publications.get(name)
    if publication is None:
        raise NoSession(f"session={name[:80]!r} is not published by WHIP", "take the name at the end of its Location")
    return publication.session


# Close codes of who left on purpose: the page was left, or told so. Their choices and portrait are gone at once.
LEFT = (1000, 1001)


async def _converse(socket: WebSocket, session: Session, control: Control) -> int:
    """Hands every message to the session until the socket, or the session, ends; returns the close code."""
    reading = asyncio.ensure_future(_read(socket, session, control))
    over = asyncio.ensure_future(control.over.wait())
    try:
        await asyncio.wait((reading, over), return_when=asyncio.FIRST_COMPLETED)
    finally:
        reading.cancel()
        over.cancel()
        ended, _ = await asyncio.gather(reading, over, return_exceptions=True)
        if isinstance(ended, Exception):
            logger.error("the socket could not be read", exc_info=ended)
    return ended if isinstance(ended, int) else 1000  # hung up on from here: the session is over


async def _read(socket: WebSocket, session: Session, control: Control) -> int:
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        await session.handle(message.get("text") or "", control)
    return int(message.get("code") or 1006)


@needs(None)
class _Page(StaticFiles):
    """Serves the browser client. Modules are revalidated, so that an update shows at the next reload."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        # This mount matches every path, also that of a route of another method.
        if allowed := methods_at(scope["app"].routes, scope):
            raise HTTPException(405, f"{scope['method']} cannot be used here", {"allow": ", ".join(allowed)})
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-store" if path in (".", "", "index.html") else "no-cache"
        return response


def _add_page(app: FastAPI, folder: Path) -> None:
    # A machine's own table may call modules text/plain, which browsers refuse to run.
    mimetypes.add_type("text/javascript", ".js")
    mimetypes.add_type("text/javascript", ".mjs")
    mimetypes.add_type("image/svg+xml", ".svg")
    mimetypes.add_type("image/webp", ".webp")
    app.mount("/", _Page(directory=folder, html=True, check_dir=False), name="page")


LINGER_S = 3.0


class AbortingWebSocket(WebSocketsSansIOProtocol):
    """Ends `LINGER_S` after the application is done with it, or after a ping went unanswered. Logs no header."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn.debug = False  # its lines hold every header, the token too
        self.logger = logging.getLogger("uvicorn.sockets")
        self.logger.setLevel(logging.WARNING)  # below, it tells the address asked for, and with it a session's name

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(LINGER_S, self.transport.abort)
