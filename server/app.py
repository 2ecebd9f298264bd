"""The HTTP side: page, lights, health, metrics, and the WebSocket that opens a Session.

`create_app` builds all of it from Settings; engines can be injected by tests. The event loop never computes: engine
warm-up, image decoding and light estimation run on threads of their own, encoders have the loop's pool to themselves.
"""

import asyncio
import logging
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import uvicorn
from fastapi import FastAPI, File, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from engine import make_engine
from engine.protocols import Engine
from lcvd.presets import PRESETS
from server import codecs, openapi_page, uploads
from server.engines import Engines
from server.errors import Busy, ForeignOrigin, NotReady, Problem, explain
from server.lights import Light
from server.logs import session_id
from server.metrics import Metrics
from server.origin import check_origin
from server.protocol import ErrorReply
from server.session import VERSION, Admission, Session
from server.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Only our own files; blob: for the pictures the page makes itself, ws: for browsers whose 'self' leaves it out.
CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob: mediastream:; connect-src 'self' ws://{host} wss://{host}; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


class ErrorBody(BaseModel):
    """Every HTTP error."""

    code: str = Field(description="Stable, for programs.")
    message: str = Field(description="What is wrong, for people.")
    hint: str = Field(description="What to do about it.")


class GalleryLight(BaseModel):
    """One preset of the gallery."""

    name: str
    title: str
    description: str
    lighting: Light


class LightBody(BaseModel):
    """A light made from an upload."""

    lighting: Light


class PhotoLightBody(LightBody):
    """The light of a photo."""

    face: tuple[int, int, int, int] = Field(description="x, y, width, height of the face in px of the photo.")


class IceBody(BaseModel):
    """STUN and TURN servers for the browser's RTCPeerConnection."""

    ice_servers: list[dict[str, Any]]


class HealthBody(BaseModel):
    """Alive, or ready."""

    status: str
    sessions: int = 0
    max_sessions: int = 0
    engine: str = ""


class Server:
    """What the routes share: engines, sessions, metrics, and the pools that keep work off the event loop."""

    def __init__(self, settings: Settings, make: Callable[[str], Engine]) -> None:
        self.settings = settings
        self.engines = Engines(settings.engine, make)
        self.sessions: dict[str, Session] = {}
        self.metrics = Metrics(lambda: [s for session in self.sessions.values() if (s := session.snapshot) is not None])
        self.admission = Admission(settings.max_sessions)
        self.stopping = False
        # One upload at a time: a second of numpy must not starve the pictures.
        self._uploads = ThreadPoolExecutor(1, "relight-upload")
        self._waiting = 0

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Run an upload's work on its own thread. Raises Busy when too many wait."""
        if self._waiting >= 4:
            raise Busy("other uploads are being read", "try again in a few seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._uploads, work)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End every session within the time allowed, then free the engines."""
        self.stopping = True
        closing = [asyncio.ensure_future(session.close()) for session in list(self.sessions.values())]
        if closing:
            _, late = await asyncio.wait(closing, timeout=self.settings.shutdown_timeout_s)
            if late:
                logger.warning("%d sessions did not end in time", len(late))
        self._uploads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.engines.close)


def create_app(settings: Settings | None = None, make: Callable[[str], Engine] = make_engine) -> FastAPI:
    """The application. `make(name)` builds engines (tests inject fakes). `app.state.server` is the Server."""
    settings = settings or Settings()
    server = Server(settings, make)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        codecs.tune()
        # aiortc encodes on the loop's default pool: room for a picture and a sound of everyone, and what else comes.
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(2 * settings.max_sessions + 4, "relight-encode")
        )
        await asyncio.to_thread(server.engines.warm)
        logger.info("engine %s is warm", server.engines.default)
        try:
            yield
        finally:
            await server.close()

    app = FastAPI(
        title="relight-live",
        version=VERSION,
        description="Light people in video calls, live. The WebSocket /ws is described in docs/protocol.md.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": ErrorBody, "description": "The request is at fault."}},
    )
    app.state.server = server
    app.add_middleware(uploads.UploadLimit, limit=settings.max_upload_bytes)
    _add_errors(app)
    _add_api(app, server)
    _add_websocket(app, server)
    _add_page(app, server)
    return app


def uvicorn_config(settings: Settings, app: FastAPI | None = None, **changes: Any) -> uvicorn.Config:
    """How to serve it: message limits, heartbeat, and an end within 5 s of SIGTERM."""
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,  # the CLI configures logging
        "access_log": False,
        "ws": "websockets-sansio",
        "ws_max_size": settings.max_message_bytes,
        "ws_ping_interval": 10.0,
        "ws_ping_timeout": 10.0,
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": 1,
        "timeout_keep_alive": 5,
        "server_header": False,
    }
    return uvicorn.Config(app or create_app(settings), **{**options, **changes})


def _problem_response(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.as_dict(), problem.status)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if isinstance(error, uploads.UploadTooLarge):
            return JSONResponse(error.problem.as_dict(), error.status_code, headers={"connection": "close"})
        hint = "see /docs for what there is" if error.status_code in (404, 405) else "see /docs"
        return _problem_response(Problem(f"http_{error.status_code}", str(error.detail), hint, error.status_code))

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        return _problem_response(Problem("bad_request", f"{where}: {first['msg']}", "see /docs", 422))

    async def ours(request: Request, error: Exception) -> Response:
        problem = explain(error)
        app.state.server.metrics.errors.labels(problem.code).inc()
        if problem.status == 500:
            logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _problem_response(problem)

    from engine.errors import EngineError
    from lcvd.errors import LcvdError
    from server.errors import ServerError

    for kind in (ServerError, LcvdError, EngineError):
        app.add_exception_handler(kind, ours)

    @app.middleware("http")
    async def door(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Foreign pages may not post; every answer carries the security headers."""
        server: Server = app.state.server
        try:
            if request.method not in ("GET", "HEAD", "OPTIONS"):
                check_origin(request.headers, request.url.scheme, server.settings)
            response = await call_next(request)
        except Exception as error:  # the door of HTTP: the client hears {code, message, hint} whatever happened
            response = await ours(request, error)
        host = request.headers.get("host", "")
        safe_host = host if all(c.isalnum() or c in ".-:[]" for c in host) else ""
        response.headers["content-security-policy"] = CSP.format(host=safe_host)
        response.headers["x-content-type-options"] = "nosniff"
        response.headers["referrer-policy"] = "no-referrer"
        response.headers["permissions-policy"] = "camera=(self), microphone=(self)"
        return response


def _add_api(app: FastAPI, server: Server) -> None:
    settings = server.settings
    gallery = [
        GalleryLight(name=p.name, title=p.title, description=p.description, lighting=Light.of(p.lighting))
        for p in PRESETS
    ]

    @app.get("/api/lights", tags=["lights"])
    async def lights() -> list[GalleryLight]:
        """The presets in gallery order; the first leaves the picture as it is."""
        return gallery

    @app.post("/api/lights/from-photo", tags=["lights"])
    async def from_photo(
        file: Annotated[UploadFile, File(description="JPEG, PNG or WebP with one face")],
    ) -> PhotoLightBody:
        """Copy the light on the face of a photo."""
        data, name = await file.read(), file.filename or "photo"
        found = await server.off_loop(lambda: uploads.light_of_photo(data, name, settings.max_image_pixels))
        return PhotoLightBody(lighting=Light.of(found.lighting), face=found.face)

    @app.post("/api/lights/from-hdri", tags=["lights"])
    async def from_hdri(
        file: Annotated[UploadFile, File(description=".hdr, .exr, or an equirectangular .jpg or .png")],
    ) -> LightBody:
        """Turn a panorama into a light."""
        data, name = await file.read(), file.filename or "panorama"
        found = await server.off_loop(lambda: uploads.light_of_panorama(data, name, settings.max_image_pixels))
        return LightBody(lighting=Light.of(found))

    @app.get("/api/ice", tags=["connection"])
    async def ice() -> IceBody:
        """STUN and TURN servers the browser should use."""
        return IceBody(ice_servers=settings.ice_servers)

    @app.get("/healthz", tags=["health"])
    async def healthz() -> HealthBody:
        """The process is alive."""
        return HealthBody(status="ok", sessions=len(server.admission), max_sessions=settings.max_sessions)

    @app.get("/readyz", tags=["health"], responses={503: {"model": ErrorBody, "description": "Not now."}})
    async def readyz() -> HealthBody:
        """Warmed up and admitting another participant."""
        if server.stopping or not server.engines.ready:
            raise NotReady("the engine is not warm", "try again in a few seconds")
        if server.admission.full:
            raise Busy(f"all {settings.max_sessions} places are taken", "raise RELIGHT_MAX_SESSIONS")
        return HealthBody(
            status="ok",
            sessions=len(server.admission),
            max_sessions=settings.max_sessions,
            engine=server.engines.default,
        )

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus text."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(openapi_page.render(app.openapi()))


def _add_websocket(app: FastAPI, server: Server) -> None:
    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        refusal: ForeignOrigin | NotReady | Busy | None = None
        try:
            check_origin(socket.headers, socket.url.scheme, server.settings)
        except ForeignOrigin as error:
            refusal = error
        if server.stopping:
            refusal = NotReady("the server is shutting down", "reload the page in a moment")
        elif len(server.sessions) >= server.settings.max_sockets:
            refusal = Busy(f"{len(server.sessions)} pages are open already", "close some, or try again later")
        if refusal is not None:
            # Accepted first: only an open socket can say why.
            server.metrics.refused.labels(refusal.code).inc()
            await socket.send_text(ErrorReply.about(explain(refusal)).text())
            await socket.close(1013 if isinstance(refusal, Busy) else 1008, refusal.code)
            return
        session = Session(socket, server.settings, server.engines, server.metrics, server.admission)
        session_id.set(session.id)
        server.sessions[session.id] = session
        server.metrics.sockets.inc()
        try:
            await session.start()
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                await session.handle(message["text"] if message.get("text") is not None else "")
        except WebSocketDisconnect:
            pass
        finally:
            server.metrics.sockets.dec()
            try:
                await session.close()
            finally:
                server.sessions.pop(session.id, None)


class _Page(StaticFiles):
    """The browser client. Modules are revalidated, so that an update shows at the next reload."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-store" if path in (".", "", "index.html") else "no-cache"
        return response


def _add_page(app: FastAPI, server: Server) -> None:
    # A machine's own table may call modules text/plain, which browsers refuse to run.
    mimetypes.add_type("text/javascript", ".js")
    mimetypes.add_type("text/javascript", ".mjs")
    mimetypes.add_type("image/svg+xml", ".svg")
    mimetypes.add_type("image/webp", ".webp")
    app.mount("/", _Page(directory=server.settings.client_dir, html=True, check_dir=False), name="page")
