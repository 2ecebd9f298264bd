"""The control page of `relight camera`: a server of its own on loopback, with a gallery, strength and a small preview.

The page is client_web/camera/. Its socket speaks the messages of docs/protocol.md that change the light; `state` and
`status` (docs/camera.md) and the preview, a small JPEG, come back. The origin check is that of `relight serve`.
"""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import cv2
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from engine.fit import letterbox
from server.camera.control import CameraControl
from server.camera.pipeline import Pipeline
from server.camera.sources import Rgb
from server.errors import Busy, ServerError, explain
from server.http.app import uvicorn_config
from server.http.middleware import install_middleware
from server.http.origin import check_origin
from server.http.scopes import needs
from server.light_message import Light
from server.protocol import ErrorReply
from server.session.state import Server

MAX_PAGES = 4
PREVIEW_S, PREVIEW_PX = 1 / 8, 480
STATUS_S = 0.5


class ControlPage:
    """Serves the page on a thread of its own, from `start` to `close`. `url` is its address."""

    def __init__(self, server: Server, control: CameraControl, pipeline: Pipeline) -> None:
        self._control, self._pipeline = control, pipeline
        self._server, self._open = server, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        config = uvicorn_config(server.settings, self._app(), log_level="warning", lifespan="off")
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run, args=([self._listener],), name="relight-page", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the server; pages that are open lose it."""
        self._uvicorn.should_exit = True
        self._thread.join(2.0)
        self._listener.close()

    def _app(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.state.server = self._server
        install_middleware(app)
        app.add_api_route("/", _to_page, include_in_schema=False)
        app.add_api_route("/api/lights", self._lights)
        app.add_api_websocket_route("/control", self._socket)
        app.mount("/", _Files(directory=self._server.settings.client_dir, html=True), name="page")
        return app

    @needs(None)
    async def _lights(self) -> list[dict[str, Any]]:
        """List the lights in gallery order, the user's own first."""
        return [
            {
                "name": x.name,
                "title": x.title,
                "description": x.description,
                "lighting": Light.of(x.lighting).model_dump(),
            }
            for x in self._control.lights
        ]

    @needs("control")
    async def _socket(self, connected: WebSocket) -> None:
        """Talks to one page until it goes."""
        await connected.accept()
        try:
            check_origin(connected.headers, self._server.settings)
            if self._open >= MAX_PAGES:
                raise Busy(f"{self._open} control pages are open already", "close one")
        except ServerError as error:
            await connected.send_text(ErrorReply.about(explain(error)).text())
            await connected.close(1008, error.code)
            return
        self._open += 1
        tasks = [asyncio.ensure_future(each) for each in (self._tell(connected), self._preview(connected))]
        try:
            while True:
                text = await connected.receive_text()
                await connected.send_text((await asyncio.to_thread(self._control.handle, text)).text())
        except (WebSocketDisconnect, RuntimeError, KeyError):  # gone, or it sent bytes
            pass
        finally:
            self._open -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, connected: WebSocket) -> None:
        """Sends the choices now and after every change, and the status twice a second."""
        async with self._changes() as changed:
            while True:
                if changed.is_set():
                    changed.clear()
                    await connected.send_text(json.dumps(self._control.state()))
                await connected.send_text(json.dumps(self._pipeline.status()))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), STATUS_S)

    @contextlib.asynccontextmanager
    async def _changes(self) -> AsyncIterator[asyncio.Event]:
        """Gives an event that is set now and by every change."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        changed.set()
        end: Callable[[], None] = self._control.listen(lambda: _set(loop, changed))
        try:
            yield changed
        finally:
            end()

    async def _preview(self, connected: WebSocket) -> None:
        """Sends what is written, small and a few times a second."""
        sent: Rgb | None = None
        while True:
            picture = self._pipeline.latest
            if picture is not None and picture is not sent:
                sent = picture
                await connected.send_bytes(await asyncio.to_thread(_jpeg, picture))
            await asyncio.sleep(PREVIEW_S)


@needs(None)
async def _to_page() -> RedirectResponse:
    return RedirectResponse("camera/")


@needs(None)
class _Files(StaticFiles):
    """Serves the page's files, asked for anew each time: another version may run on this port tomorrow."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def _set(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop may have ended
        loop.call_soon_threadsafe(event.set)


def _jpeg(rgb: Rgb) -> bytes:
    """Returns a picture at most PREVIEW_PX wide as JPEG."""
    height, width = rgb.shape[:2]
    if width > PREVIEW_PX:
        rgb = letterbox(rgb, (max(1, round(height * PREVIEW_PX / width)), PREVIEW_PX))
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return data.tobytes()
