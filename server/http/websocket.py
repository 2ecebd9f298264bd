"""uvicorn's WebSocket, without its patience for clients that do not read.

Closing waits until everything is written; a client that reads nothing would keep its socket, and the session behind it,
for ever. After a short time the socket is aborted instead.
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINGER_S = 3.0


class ImpatientWebSocket(WebSocketsSansIOProtocol):
    """Ends `LINGER_S` after the application is done with it, or after a ping went unanswered."""

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(LINGER_S, self.transport.abort)
