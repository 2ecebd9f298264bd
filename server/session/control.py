"""One WebSocket that controls a session: bounded in both directions, closed once its last words were sent.

A session has at most one at a time: the page's own, or those that come and go beside a publication by WHIP.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from server.protocol import ServerMessage
from server.security.grant import EVERYTHING, Grant
from server.session.admission import FloodGuard
from server.session.outbox import Outbox, Socket
from server.session.tasks import Tasks
from server.settings import Settings

logger = logging.getLogger(__name__)


class Control:
    """The socket's side of a session. Everything on the event loop."""

    def __init__(
        self,
        socket: Socket,
        settings: Settings,
        grant: Grant = EVERYTHING,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.grant = grant  # of the token that it came with
        self.over = asyncio.Event()  # the socket was closed from here: nobody needs to read it further
        self._clock = clock
        self._outbox = Outbox(socket)
        self._flood = FloodGuard(settings.max_message_bytes, settings.messages_per_s, settings.message_burst)
        self._tasks = Tasks("a control socket")
        self._hung_up = self._closed = False

    @property
    def idle(self) -> bool:
        """True where everything that was sent has left."""
        return self._outbox.empty

    @property
    def waiting(self) -> int:
        """The number of messages that the client has not read yet."""
        return self._outbox.waiting

    def start(self) -> None:
        """Starts the writer."""
        self._tasks.spawn(self._outbox.run())

    def send(self, message: ServerMessage) -> None:
        """Queues a message; a client that reads none of them loses its socket."""
        if not self._outbox.send(message) and not self._closed:
            self._not_reading()

    async def ready(self) -> bool:
        """Waits until the client has read most of what was sent; False where it does not and is hung up on."""
        if await self._outbox.room():
            return True
        self._not_reading()
        return False

    def check(self, text: str) -> None:
        """Raises TooLarge or TooFast for a message that may not pass."""
        self._flood.check(text, self._clock())

    def refused(self) -> None:
        """Hangs up on a client that goes on sending what is refused."""
        if self._flood.exceeded:
            self.hang_up(1008, "flood")

    def hang_up(self, code: int, reason: str) -> None:
        """Closes the socket after what is waiting was sent, then sets `over`; who reads the socket calls `close`."""
        if not self._hung_up:
            self._hung_up = True
            self._tasks.spawn(self._hang_up(code, reason))

    async def close(self) -> None:
        """Frees the writer. The socket is its reader's to close."""
        self._closed = True
        await self._tasks.cancel()

    def _not_reading(self) -> None:
        logger.info("the client does not read its messages")
        self.hang_up(1008, "not reading")

    async def _hang_up(self, code: int, reason: str) -> None:
        await self._outbox.hang_up(code, reason)
        self.over.set()
