"""A server on a thread of its own, and tabs that speak to it one message at a time: what a state machine drives."""

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from server.http.guesses import GuessLimit
from server.security.grant import Scope
from tests.server.client import Running, running

SECRET = "0123456789abcdef0123456789abcdef"
LIMIT_S = 30.0  # a machine shared by many; the slowest case takes a second alone
UNASKED = ("stats", "notice")  # messages that answer nothing


@contextmanager
def served(**settings: Any) -> Iterator[Running]:
    """Runs a server that asks for signed tokens and tires of nobody, on an event loop of its own."""
    ready: threading.Event = threading.Event()
    found: list[Running] = []
    failed: list[BaseException] = []
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        limits = {"messages_per_s": 10**6, "message_burst": 10**6, "secret": SECRET}
        async with running(**limits, **settings) as server:
            server.app.state.access.guesses = GuessLimit(burst=10**6)
            found.append(server)
            ready.set()
            await over.wait()

    def work() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="served", daemon=True)
    thread.start()
    ready.wait()
    try:
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(LIMIT_S)
        loop.close()


def token(server: Running, scopes: frozenset[Scope]) -> str:
    """Returns a token of these scopes, in their order of the alphabet."""
    text: str = server.app.state.access.issue(tuple(sorted(scopes)), 3600).text
    return text


def eventually(look: Callable[[], bool], what: Callable[[], str]) -> None:
    """Waits until `look()`; says `what()` was there instead."""
    deadline_s = time.monotonic() + LIMIT_S
    while not look():
        assert time.monotonic() < deadline_s, what()
        time.sleep(0.005)


class Tab:
    """One WebSocket with a token. `first` is what came at once: a welcome, or an error where it was refused."""

    def __init__(self, server: Running, bearer: str | None, query: str = "") -> None:
        offered = [] if bearer is None else [f"bearer.{base64.urlsafe_b64encode(bearer.encode()).decode().rstrip('=')}"]
        protocols = [Subprotocol(each) for each in ("relight.v1", *offered)]
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(connect(server.ws + query, subprotocols=protocols, proxy=None))
        self._count = 0
        self.first = self._read()

    def say(self, said: str | bytes) -> list[dict[str, Any]]:
        """Sends it, then a ping; returns the answers to it that came before the pong. Raises ConnectionClosed."""
        self._count += 1
        last = f"after {self._count}"
        self._socket.send(said)
        self._socket.send(json.dumps({"type": "ping", "t": self._count, "id": last}))
        heard = []
        while (reply := self._read()).get("id") != last:
            if reply["type"] not in UNASKED:
                heard.append(reply)
        return heard

    def send(self, said: str | bytes) -> None:
        """Sends and waits for nothing."""
        self._socket.send(said)

    def closed_with(self) -> int | None:
        """Reads until the server closes; returns the code."""
        try:
            while True:
                self._read()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def close(self, code: int = 1000) -> None:
        """Closes as a page does. Again, or where the server did: nothing happens."""
        self._socket.close(code)
        self._stack.close()

    def vanish(self) -> None:
        """Ends the TCP connection without a word."""
        self._socket.socket.shutdown(socket.SHUT_RDWR)
        self._stack.close()

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._socket.recv(timeout=LIMIT_S))
        return found


class Person:
    """A tab and what the server must know of it."""

    def __init__(self, tab: Tab, scopes: frozenset[Scope], session: str, published: bool) -> None:
        self.tab, self.scopes, self.session, self.published = tab, scopes, session, published


class Choices:
    """What was chosen for one session."""

    def __init__(self, view: str) -> None:
        self.strength, self.mirror, self.view = 1.0, False, view
        self.offered = False


class HalfOpen:
    """A TCP connection that sends the beginning of a request, and nothing more."""

    def __init__(self, server: Running, sent: int) -> None:
        request = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._socket = socket.create_connection(("127.0.0.1", server.port))
        self._socket.sendall(request.encode()[:sent])

    def close(self) -> None:
        """Closes it."""
        self._socket.close()
