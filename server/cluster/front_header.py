"""The headers with which the front passes a request on, and the check that nobody else speaks to a worker.

A worker sees the front's address and its own; what the participant and access control saw travels in headers, which
count only beside the secret that both were given at the start.
"""

import hmac
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

SECRET, HOST, CLIENT, NEAR, SCHEME = (
    "relight-front",
    "relight-host",
    "relight-client",
    "relight-near",
    "relight-scheme",
)
OURS = (SECRET, HOST, CLIENT, NEAR, SCHEME)
INTERNAL = "/internal"
# Of one connection (RFC 9110, 7.6.1), or made anew for the next one.
CONNECTION = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
OF_SOCKETS = ("authorization", "origin", "x-forwarded-for")
HOP_BY_HOP = frozenset((*CONNECTION, "host", "content-length", "expect"))


def passed_on(request: Mapping[str, Any], secret: str) -> list[tuple[bytes, bytes]]:
    """Returns the headers of an HTTP request (an ASGI scope) as its worker gets them, byte for byte."""
    kept = [
        (name, value)
        for name, value in request["headers"]
        if (word := name.decode("latin-1").lower()) not in HOP_BY_HOP and word not in OURS
    ]
    return kept + [(name.encode(), value.encode("latin-1")) for name, value in _ours(request, secret).items()]


def passed_on_by_socket(request: Mapping[str, Any], secret: str) -> dict[str, str]:
    """Returns the headers of a WebSocket that say who asks, as its worker gets them."""
    headers = Headers(scope=dict(request))
    return {name: headers[name] for name in OF_SOCKETS if name in headers} | _ours(request, secret)


def _ours(request: Mapping[str, Any], secret: str) -> dict[str, str]:
    client, near = request.get("client"), request.get("server")
    return {
        SECRET: secret,
        HOST: Headers(scope=dict(request)).get("host", ""),
        CLIENT: client[0] if client else "",
        NEAR: str(near[0] or "") if near else "",
        SCHEME: {"ws": "http", "wss": "https"}.get(request["scheme"], request["scheme"]),
    }


class FrontOnly:
    """Admits the front alone to a worker's application, and to `internal` under /internal."""

    def __init__(self, app: ASGIApp, internal: FastAPI, secret: str) -> None:
        self._app = app
        self._internal = internal
        self._secret = secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not hmac.compare_digest(headers.get(SECRET, "").encode(), self._secret):
            await self._refuse(scope, receive, send)
            return
        if scope["path"].startswith(INTERNAL):
            await self._internal({**scope, "path": scope["path"].removeprefix(INTERNAL)}, receive, send)
            return
        kept = [(name, value) for name, value in scope["headers"] if name not in (b"host", *map(str.encode, OURS))]
        changed: dict[str, Any] = {
            "headers": [*kept, (b"host", headers.get(HOST, "").encode("latin-1"))],
            "client": (headers.get(CLIENT, ""), 0),
        }
        if near := headers.get(NEAR):
            changed["server"] = (near, None)
        if scope["type"] == "http":
            changed["scheme"] = headers.get(SCHEME, "http")
        await self._app({**scope, **changed}, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        body = {"code": "forbidden", "message": "this is a worker", "hint": "ask the server that it belongs to"}
        await JSONResponse(body, 403)(scope, receive, send)
