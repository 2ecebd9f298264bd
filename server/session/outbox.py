"""Messages on their way to one client: a bounded queue and the task that empties it.

A client that does not read loses its session; it does not cost the server its memory.
"""

import asyncio
import logging
from typing import Protocol

from server.protocol import ServerMessage

logger = logging.getLogger(__name__)

CAPACITY = 64
ROOM = 16  # no further message is read while more replies than this wait
PATIENCE_S = 10.0
FAREWELL_S = 1.0  # what waits gets this long to leave before the socket closes


class Socket(Protocol):
    """The part of a WebSocket that an outbox uses."""

    async def send_text(self, data: str) -> None: ...

    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...


class Outbox:
    """`send` never waits. `run` is a task of the session; `hang_up` ends the socket, and its reader hears of it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._waiting: asyncio.Queue[str] = asyncio.Queue(CAPACITY)
        self._ended = False

    @property
    def empty(self) -> bool:
        """True where nothing waits to be sent."""
        return self._waiting.empty()

    @property
    def waiting(self) -> int:
        """The number of messages that wait to be sent."""
        return self._waiting.qsize()

    def send(self, message: ServerMessage) -> bool:
        """Queues a message; returns False when the client has not read the last CAPACITY messages."""
        try:
            self._waiting.put_nowait(message.text())
        except asyncio.QueueFull:
            return False
        return True

    async def room(self) -> bool:
        """Waits until the client has read most of what was sent; returns False when it does not read at all."""
        # Also gives the event loop its turn: a flood must not keep everyone else waiting.
        await asyncio.sleep(0)
        if self._waiting.qsize() <= ROOM:
            return True
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._waiting.join()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Writes to the socket until cancelled."""
        while True:
            text = await self._waiting.get()
            try:
                if self._ended:
                    continue  # nobody is there; whoever waits for room must not wait for ever
                await self._socket.send_text(text)
            except Exception as error:  # whatever way a socket ends: its reader hears of it too
                logger.debug("socket closed while writing: %r", error)
                self._ended = True
            finally:
                self._waiting.task_done()

    async def hang_up(self, code: int, reason: str) -> None:
        """Closes the socket once what is waiting has been sent."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._waiting.join()
        except TimeoutError:
            pass
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._socket.close(code, reason)
        except Exception as error:  # already closed, or its peer does not read
            logger.debug("closing the socket: %r", error)
