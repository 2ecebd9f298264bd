"""odd_request draws an HTTP request: a route of the server, bent in its path, query, headers, method or body."""

import json
import random
from typing import NamedTuple
from urllib.parse import quote

from tests.server.fuzz.damage import damaged
from tests.server.fuzz.odd_messages import VALUES
from tests.server.fuzz.odd_offers import odd_offer

METHODS = ("GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "PUT", "TRACE", "BREW")
PIECES = (
    "",
    ".",
    "..",
    "%2e%2e",
    "%00",
    "%",
    "x" * 3000,
    "ü",
    "😀",
    "a b",
    "'\"<>",
    "nobody",
    "-1",
    "{}",
    "%2F",
    "null",
    "\\",
)
QUERIES = (
    "", "?", "?=", "?a=b", "?light=rim", "?light=", "?strength=nan", "?strength=2", "?fps=0", "?fps=1e9", "?fps=x",
    "?mode=no",
    "?url=", "?url=javascript:1", "?url=https://x/" + "a" * 400, "?url=http://[", "?session=x", "?%00=%00",
    "?fps=25&fps=30",
    "?view=%20", "?view=ok", "?mirror=maybe", "?engine=" + "e" * 90, "?gain=0.3&background=lit", "?url=http://h/#f",
)  # fmt: skip
HEADERS = (
    {}, {}, {}, {"content-type": "application/json"}, {"content-type": "application/sdp"}, {"accept": "x/y"},
    {"origin": "null"},
    {"content-type": "application/trickle-ice-sdpfrag", "if-match": '"x"'}, {"if-match": "*"},
    {"origin": "https://evil.example"},
    {"authorization": "Bearer x"}, {"authorization": "Basic eDp5"}, {"authorization": "Bearer"},
    {"authorization": "\xff"},
    {"content-type": "multipart/form-data; boundary=x"}, {"content-encoding": "gzip"}, {"range": "bytes=9-1"},
    {"host": "a:b"},
    {"x-forwarded-for": "1.2.3.4, x"}, {"content-type": "text/plain; charset=x"}, {"accept-encoding": "br;q=x"},
    {"access-control-request-method": "POST", "origin": "https://a"}, {"if-modified-since": "never"}, {"expect": "x"},
)  # fmt: skip


class Request(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def odd_request(rng: random.Random, routes: list[tuple[str, str]], names: list[str]) -> Request:
    """Draws a request to one of `routes` (method, path with `{name}`); `names` are those of real sessions."""
    method, path = rng.choice(routes)
    while "{" in path:
        head, _, rest = path.partition("{")
        piece = rng.choice(names) if names and rng.random() < 0.4 else rng.choice(PIECES)
        path = head + (piece if rng.random() < 0.8 or not piece.isascii() else quote(piece)) + rest.partition("}")[2]
    if rng.random() < 0.15:
        method = rng.choice(METHODS)
    if rng.random() < 0.12:
        path += rng.choice(("/", "//", "/..", "/x", "%2f", ";x", "/" + rng.choice(PIECES)))
    if rng.random() < 0.35:
        path += rng.choice(QUERIES)
    return Request(method, path, dict(rng.choice(HEADERS)), _body(rng))


def _body(rng: random.Random) -> bytes:
    kind = rng.randrange(7)
    if kind < 2:
        return b""
    if kind == 2:
        names = ("session", "for_s", "base", "x", "token")
        picked = {rng.choice(names): rng.choice((*VALUES, "http://localhost", 3600)) for _ in range(rng.randrange(4))}
        return json.dumps(picked).encode()
    if kind == 3:
        return odd_offer(rng).encode()
    if kind == 4:
        return damaged(rng, b'{"session": "x", "for_s": 60}')
    if kind == 5:
        return b"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=mid:0\r\na=candidate:" + rng.randbytes(30)
    return rng.randbytes(rng.choice((1, 100, 9000)))
