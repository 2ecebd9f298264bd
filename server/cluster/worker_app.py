"""The application of one worker: the whole server, which only the front may ask, and what only the front asks."""

import asyncio
from collections.abc import Callable
from functools import partial

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.types import ASGIApp

from engine.protocols import Engine
from server.cluster.front_header import FrontOnly
from server.cluster.state_message import decoded, encoded, merged
from server.http.app import create_app
from server.rtc.bench.machine_cost import MachineCost
from server.session.lost_sessions import LostSession
from server.session.session import Session
from server.session.state import Server
from server.session.viewers import Viewers
from server.settings import Settings


class WorkerStatus(BaseModel):
    """What the front knows of a worker."""

    ready: bool = False
    engine: str = ""
    inside: int = 0  # participants
    limit: int = 0
    waiting: list[str] = []  # sessions that wait for a place, the first first
    sessions: list[str] = []  # every one, those without a connection too
    cost: MachineCost | None = None  # of a picture, as measured there


def create_worker_app(
    settings: Settings, secret: str, make: Callable[[str], Engine] | None = None, cost: MachineCost | None = None
) -> ASGIApp:
    """Returns the application of a worker. `make(name)` builds engines; `cost` is known where another measured it."""
    app = create_app(settings, make, beside=mirror)
    server: Server = app.state.server
    if cost is not None:
        server.places.take(cost)
    internal = FastAPI(openapi_url=None)
    internal.add_api_route("/status", partial(status, server), methods=["GET"])

    @internal.put("/lost/{name}", status_code=204)
    async def put_lost(name: str, request: Request) -> Response:
        """Keeps the choices of a session that was another worker's, for the participant who resumes it here."""
        body = await request.body()
        state = await asyncio.to_thread(lambda: decoded(merged(None, body)))
        server.lost.keep(name, LostSession(state, Viewers(settings, server.metrics), had_place=True))
        return Response(status_code=204)

    @internal.post("/release/{name}", status_code=204)
    async def release(name: str) -> Response:
        """Ends a session that goes on in another worker; one that is gone already is no error."""
        await server.give_up(name)
        return Response(status_code=204)

    return FrontOnly(app, internal, secret)


async def status(server: Server) -> WorkerStatus:
    """Returns what the front knows of this worker; that it comes at all says that the event loop runs."""
    return WorkerStatus(
        ready=server.engines.ready and not server.stopping,
        engine=server.engines.default,
        inside=len(server.admission),
        limit=server.admission.limit,
        waiting=[name for name in server.admission.line if name in server.sessions],
        sessions=list(server.sessions),
        cost=server.places.measured,
    )


async def mirror(session: Session, socket: WebSocket) -> None:
    """Sends the session's state to the front at once and after every change, in binary messages."""
    sent: object = socket  # of no portrait
    while True:
        session.changed.clear()
        state = session.save()
        avatar = state.requested.avatar
        portrait = None if avatar is None else avatar.portrait_rgb
        if portrait is sent:
            message = encoded(state, pictures=False)
        else:  # megabytes
            message = await asyncio.to_thread(encoded, state)
        await socket.send_bytes(message)
        sent = portrait
        await session.changed.wait()
