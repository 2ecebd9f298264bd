"""Carries one WebSocket between a participant and the worker that has the session, both ways, unchanged.

Binary messages of the worker are for the front: the session's state. When the worker is gone the participant is told to
come back (1012, service restart), which finds another worker; a participant who is gone is gone for the worker too.
"""

import asyncio
import json
import logging
from urllib.parse import quote

import httpx
from fastapi import WebSocket, WebSocketDisconnect
from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from server.cluster.directory import Directory, Known
from server.cluster.front_header import passed_on_by_socket
from server.cluster.worker import Worker
from server.cluster.worker_process import MAX_MESSAGE_BYTES
from server.http.access import subprotocols
from server.http.app import LEFT
from server.protocol import Notice, Resume, parse

logger = logging.getLogger(__name__)

RESTART, LOST = 1012, 4001  # close codes: to the participant; to the worker, which then keeps the choices
MOVING = Notice(
    code="moving",
    message="The server moves this session to another process.",
    hint="connect again and resume; close this socket once the new picture is there",
)
CLIENT_LEFT = (RuntimeError, WebSocketDisconnect)  # what sending raises to a participant who has closed meanwhile
PASSABLE = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class Unreachable(Exception):
    """The worker cannot be reached: another one may be tried."""


class Relay:
    """One participant's socket."""

    def __init__(self, client: WebSocket, worker: Worker, directory: Directory) -> None:
        self._client = client
        self._worker = worker
        self._directory = directory
        self._known: Known | None = None
        self._closed_by: int | None = None  # the participant's close code
        self._closing: tuple[int, str] | None = None  # from here
        self._called = asyncio.Event()
        self.ended = asyncio.Event()
        self._offered = False  # an offer was answered: nothing can be resumed any more

    @property
    def name(self) -> str:
        """The session's name; "" before its welcome."""
        return self._known.name if self._known is not None else ""

    @property
    def worker(self) -> Worker:
        """The worker that has the session."""
        return self._worker

    @property
    def broken(self) -> bool:
        """True where the worker ended the socket without a word."""
        return self._closed_by is None and self._closing is None and not self._called.is_set()

    @property
    def moving(self) -> bool:
        """True once the participant was told to move."""
        return self._known is not None and self._known.moving

    @property
    def nbytes(self) -> int:
        """The bytes of the session's pictures, which go with it when it moves."""
        return self._known.nbytes if self._known is not None else 0

    async def ask_to_move(self) -> None:
        """Tells the participant to go on in another worker; the session here goes on until it does."""
        if self._known is not None:
            self._known.moving = True
        try:
            await self._client.send_text(MOVING.text())
        except CLIENT_LEFT as error:
            logger.debug("a participant could not be told: %r", error)

    def call_back(self) -> None:
        """Ends the socket so that the participant comes back, to a worker that has a place."""
        self._called.set()

    async def run(self) -> None:
        """Relays until either side ends. Raises Unreachable before anything was relayed."""
        self._worker.coming.add(self)  # else all who come at once find it the emptiest
        try:
            await self._run()
        finally:
            self._worker.coming.discard(self)

    async def _run(self) -> None:
        try:
            backend = await self._connect()
        except (OSError, InvalidHandshake, TimeoutError, ConnectionClosed) as error:
            raise Unreachable(str(error)) from error
        try:
            pumps = [
                asyncio.ensure_future(work)
                for work in (
                    self._to_worker(backend),
                    self._to_client(backend),
                    self._worker.gone.wait(),
                    self._called.wait(),
                )
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            for result in await asyncio.gather(*pumps, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, (ConnectionClosed, WebSocketDisconnect)):
                    logger.error("a socket could not be relayed", exc_info=result)
        finally:
            self.ended.set()
            await self._end(backend)

    async def _connect(self) -> ClientConnection:
        headers = passed_on_by_socket(self._client.scope, self._worker.secret)
        url = self._worker.launched.url.replace("http", "ws", 1) + "/ws"
        if query := self._client.scope.get("query_string"):
            url += f"?{quote(query, safe='=&%+')}"
        return await connect(
            url,
            additional_headers=headers,
            subprotocols=subprotocols(self._client.headers) or None,  # type: ignore[arg-type]
            max_size=MAX_MESSAGE_BYTES,
            compression=None,
            proxy=None,
            ping_interval=None,  # the pool knows whether the worker lives
            close_timeout=1.0,
            open_timeout=5.0,
        )

    async def _to_worker(self, backend: ClientConnection) -> None:
        while True:
            message = await self._client.receive()
            if message["type"] == "websocket.disconnect":
                self._closed_by = int(message.get("code") or 1006)
                return
            text = message.get("text") or ""
            if '"resume"' in text:
                await self._move(text)
            await backend.send(text)

    async def _to_client(self, backend: ClientConnection) -> None:
        try:
            async for message in backend:
                if isinstance(message, bytes):
                    if self._known is not None:
                        await self._known.update(message)
                    continue
                if self._known is None:
                    self._welcome(message)
                self._offered |= message.startswith('{"type":"answer"')
                await self._client.send_text(message)
        except ConnectionClosed as closed:
            logger.debug("a worker's socket ended: %s", closed)
        received = backend.close_code
        if received in PASSABLE:
            self._closing = received, backend.close_reason or ""

    def _welcome(self, text: str) -> None:
        self._worker.coming.discard(self)
        message = json.loads(text)
        # A control socket beside a publication is no session of its own; a refusal is none at all.
        if message.get("type") == "welcome" and "session" not in self._client.query_params:
            self._known = self._directory.add(message["session"], self._worker, message["view"])

    async def _move(self, text: str) -> None:
        """Brings the session that is about to be resumed to this worker, where another one had it."""
        try:
            asked = parse(text)
        except ValidationError:
            return  # the worker says what is wrong with it
        if not isinstance(asked, Resume) or self._known is None or self._offered or asked.session == self.name:
            return
        known = self._directory.take(asked.session)
        if known is None or known.worker is self._worker or known.state is None:
            return
        before = known.worker
        if not (before.gone.is_set() or before.draining or known.moving):
            try:
                await before.release(known.name)
            except httpx.HTTPError as error:  # it has died
                logger.debug("worker %d does not release a session: %s", before.number, type(error).__name__)
        try:
            await self._worker.put_lost(known.name, known.state)
        except httpx.HTTPError as error:
            self._directory.put_back(known)
            logger.warning("worker %d does not take a session over: %s", self._worker.number, type(error).__name__)

    async def _end(self, backend: ClientConnection) -> None:
        lost = self._closed_by is None or self._closed_by not in LEFT
        if self._known is not None:
            self._directory.leave(self._known, lost)
        if self._closed_by is not None:
            code = self._closed_by if self._closed_by in LEFT else LOST
            if not self._worker.gone.is_set():
                await backend.close(code)
            return
        backend.transport.abort()
        code, reason = self._closing or (RESTART, "the worker has ended; come back")
        try:
            await self._client.close(code, reason)
        except CLIENT_LEFT as error:
            logger.debug("closing a socket: %r", error)
