"""The application of a front: page, access, signalling and placement. It relights nothing.

Every request and socket is checked as in a single server, then passed on to a worker; media go straight between the
participant and that worker.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request, WebSocket
from fastapi.responses import Response
from pydantic import BaseModel, Field

from server.cluster.balance import Balance
from server.cluster.directory import Directory
from server.cluster.forward import Forwarder, merged_lists
from server.cluster.front_metrics import scrape
from server.cluster.launcher import Launcher
from server.cluster.pool import WorkerPool
from server.cluster.relay import Relay, Unreachable
from server.cluster.worker import Worker
from server.errors import Busy, NotReady, ServerError
from server.http.access import AccessControl, chosen_subprotocol
from server.http.app import assemble, refuse
from server.http.debug import REFUSED
from server.http.error_body import WRONG_PART, errors
from server.http.routes import HealthBody
from server.http.scopes import needs
from server.metrics import Metrics
from server.settings import Settings

logger = logging.getLogger(__name__)

EVEN_OUT_S = 1.0
MOVE_S = 5.0  # for one participant, until the next is told: two at once hold each other up
ATTEMPTS = 3  # workers that a socket is offered to


class Front:
    """The state of one front: in the place of a single server's, as far as its routes ask for it."""

    def __init__(self, settings: Settings, launcher: Launcher, secret: str) -> None:
        """`secret` is shared with the workers, which admit nobody else."""
        self.settings = settings
        self.metrics = Metrics()
        self.stopping = False
        self.pool = WorkerPool(launcher, secret, settings.worker_timeout_s, settings.drain_s)
        self.directory = Directory(settings.resume_s)
        self.forwarder = Forwarder(self.pool, self.directory)
        self.relays: set[Relay] = set()
        self.pool.on_drain = self._ask_to_leave
        self.pool.on_status = self.directory.prune

    @property
    def health(self) -> HealthBody:
        """The participants and places of all workers."""
        workers = list(self.pool)
        return HealthBody(
            status="ok",
            sessions=sum(worker.status.inside for worker in workers),
            max_sessions=sum(worker.status.limit for worker in workers if worker.available),
            engine=next((worker.status.engine for worker in workers if worker.status.ready), ""),
        )

    async def serve(self, socket: WebSocket) -> None:
        """Brings an accepted socket to a worker. Raises NotReady, NoSession."""
        named = socket.query_params.get("session")
        for _ in range(ATTEMPTS):
            worker = self.pool.choose() if named is None else self.forwarder.owner(named)
            relay = Relay(socket, worker, self.directory)
            self.relays.add(relay)
            try:
                await relay.run()
                if relay.broken:
                    await self.pool.check(worker)
                return
            except Unreachable as error:
                logger.warning("worker %d is not reached: %s", worker.number, error)
                await self.pool.check(worker)
            finally:
                self.relays.discard(relay)
        raise NotReady("no worker is ready", "try again in a few seconds")

    async def even_out(self) -> None:
        """Calls those who wait at a full worker to another one, and moves one where a worker is fuller than others."""
        balance = Balance()
        while True:
            await asyncio.sleep(EVEN_OUT_S)
            self._call_waiting()
            overfull = balance.overfull(list(self.pool), time.monotonic())
            here = [relay for relay in self.relays if relay.worker is overfull and relay.name and not relay.moving]
            if here:
                await min(here, key=lambda relay: relay.nbytes).ask_to_move()

    def _call_waiting(self) -> None:
        room = any(worker.available and worker.free > 0 and not worker.status.waiting for worker in self.pool)
        line = next((worker.status.waiting for worker in self.pool if worker.status.waiting), [])
        relay = next((relay for relay in self.relays if line and relay.name == line[0]), None)
        if room and relay is not None:
            relay.call_back()

    async def _ask_to_leave(self, worker: Worker) -> None:
        """Tells those at a worker to move, one after another: each new connection costs its cores half a second."""
        here = [relay for relay in self.relays if relay.worker is worker]
        patience_s = min(MOVE_S, self.settings.drain_s / (len(here) + 1))
        for relay in here:
            await relay.ask_to_move()
            with suppress(TimeoutError):  # it does not know the notice, or takes its time
                async with asyncio.timeout(patience_s):
                    await relay.ended.wait()


def create_front(settings: Settings, launcher: Launcher, secret: str) -> FastAPI:
    """Returns the application of a front. `app.state.server` is the Front."""
    front = Front(settings, launcher, secret)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await front.pool.start()
        evening_out = asyncio.create_task(front.even_out())
        try:
            yield
        finally:
            front.stopping = True
            evening_out.cancel()
            await front.pool.close()

    return assemble(front, lifespan, websocket, front.forwarder, first=router)


@needs("control")
async def websocket(socket: WebSocket) -> None:
    """Relays `socket` to a worker; a refused one gets the reason and is closed."""
    front: Front = socket.app.state.server
    await socket.accept(chosen_subprotocol(socket.headers))
    access: AccessControl = socket.app.state.access
    try:
        access.check(socket.headers, "control", address=socket.client.host if socket.client is not None else "")
        if front.stopping:
            raise NotReady("the server is shutting down", "reload the page in a moment")
        front.metrics.sockets.inc()
        try:
            await front.serve(socket)
        finally:
            front.metrics.sockets.dec()
    except ServerError as refusal:
        await refuse(socket, refusal, 1013 if isinstance(refusal, (Busy, NotReady)) else 1008)


router = APIRouter()


class WorkerLine(BaseModel):
    """One worker."""

    worker: int
    place: str = Field(description="Number of its process.")
    ready: bool
    draining: bool
    engine: str
    sessions: int = Field(description="Participants.")
    max_sessions: int


@router.get("/healthz", tags=["health"], summary="Alive")
@needs(None)
async def healthz(request: Request) -> HealthBody:
    """Answer while the front is alive."""
    return _front(request).health


@router.get("/readyz", tags=["health"], summary="Ready", responses=errors(s503="Not now."))
@needs(None)
async def readyz(request: Request) -> HealthBody:
    """Answer 200 while a worker is warm and has a place."""
    front = _front(request)
    front.pool.choose()
    if not any(worker.available and worker.status.inside < worker.status.limit for worker in front.pool):
        raise Busy(f"all {front.health.max_sessions} places are taken", "start more workers")
    return front.health


@router.get("/metrics", tags=["health"], summary="Metrics", response_class=Response)
@needs(None)
async def metrics(request: Request) -> Response:
    """Write the metrics of all workers as Prometheus text, with the label worker."""
    text = await scrape(_front(request).pool)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/debug/sessions", include_in_schema=False)
@needs("operate")
async def sessions(request: Request) -> Response:
    """Lists the sessions of all workers."""
    return merged_lists(await _front(request).forwarder.everywhere(request))


@router.get("/debug/session/{session}", include_in_schema=False)
@needs("operate")
async def one_session(request: Request, session: str) -> Response:
    """Looks into one session, at the worker that has it; else any worker's answer says that none does."""
    answers = [answer for _, answer in await _front(request).forwarder.everywhere(request)]
    if not answers:
        raise NotReady("no worker is ready", "try again in a few seconds")
    return next((answer for answer in answers if answer.status_code != 404), answers[0])


@router.get("/api/workers", tags=["operations"], summary="Workers", responses=errors(**REFUSED))
@needs("operate")
async def workers(request: Request) -> list[WorkerLine]:
    """List the worker processes."""
    return [
        WorkerLine(
            worker=each.number,
            place=each.launched.place,
            ready=each.status.ready,
            draining=each.draining,
            engine=each.status.engine,
            sessions=each.status.inside,
            max_sessions=each.status.limit,
        )
        for each in _front(request).pool
    ]


@router.post(
    "/api/workers/{worker}/drain",
    tags=["operations"],
    summary="Drain a worker",
    status_code=204,
    responses=errors(**REFUSED, s404="There is no such worker, or it is the only one.", s422=WRONG_PART),
)
@needs("operate")
async def drain(
    request: Request,
    worker: int,
    replace: Annotated[
        bool, Query(description="After a successor is warm; without one: only where others are.")
    ] = True,
) -> Response:
    """Move a worker's participants to others, without a gap in their picture, and end it."""
    await _front(request).pool.drain(worker, replace)
    return Response(status_code=204)


def _front(request: Request) -> Front:
    front: Front = request.app.state.server
    return front
