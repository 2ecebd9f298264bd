"""Every route and message of the application itself, against every kind of token: no route is forgotten."""

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any, get_args

import httpx
import jwt
import pytest
import websockets
from starlette.routing import Route, WebSocketRoute

from server.http.app import create_app
from server.http.guesses import GuessLimit
from server.http.scopes import all_routes, declared, needed
from server.protocol import AnyClientMessage
from server.security.grant import GRANTABLE, Scope
from server.security.tokens import TokenSigner
from server.settings import Settings
from tests.server.client import Participant, Running, running

SECRET = "0123456789abcdef0123456789abcdef"
NEVER = "f" * 32
HOUR = 3600

APP = create_app(Settings(engine="passthrough"))
ROUTES = list(all_routes(APP.routes))
METHODS = [
    (method, route.path, declared(route))
    for route in ROUTES
    if isinstance(route, Route)
    for method in sorted(route.methods or ())
]
MESSAGES = get_args(get_args(AnyClientMessage)[0])
CASES = ("none", "wrong", "expired", "foreign", "unsigned", "early", "narrow", "right")
REFUSED = {"narrow": 403}  # every other wrong token is 401


def signed(key: str = SECRET, algorithm: str | None = "HS256", **claims: Any) -> str:
    """A token made beside the product's own code."""
    now = int(time.time())
    standard = {"aud": "relight", "jti": "x", "iat": now, "exp": now + HOUR, "scope": " ".join(GRANTABLE)}
    return jwt.encode({**standard, **claims}, key if algorithm else None, algorithm)


def token_for(case: str, scope: Scope, server: Running) -> str | None:
    """The token of this case on a route that needs `scope`."""
    now = int(time.time())
    match case:
        case "none":
            return None
        case "wrong":
            return "correct-horse"
        case "expired":
            return signed(iat=now - 2 * HOUR, exp=now - HOUR)
        case "foreign":
            return signed(key=NEVER)
        case "unsigned":
            return signed(algorithm=None)
        case "early":
            return signed(nbf=now + HOUR)
        case "narrow":
            return signed(scope=" ".join(each for each in GRANTABLE if each != scope))
    return server.app.state.access.entry_token() if scope == "join" else signed(scope=scope)


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    """A server that asks for signed tokens and does not tire of wrong ones."""
    async with running(secret=SECRET) as found:
        found.app.state.access.guesses = GuessLimit(burst=10**6)
        yield found


def test_every_route_and_message_declares_its_scope() -> None:
    """Who adds a route writes @needs(...) above its function, who adds a message gives it a `scope`."""
    assert len(ROUTES) > 20
    assert [str(route) for route in ROUTES if declared(route) is None] == []
    assert [kind.__name__ for kind in MESSAGES if getattr(kind, "scope", None) not in GRANTABLE] == []


def test_a_route_that_says_nothing_is_closed() -> None:
    """The default is the narrowest scope, also for GET."""
    request = {"type": "http", "method": "GET", "path": "/forgotten", "root_path": "", "headers": []}
    assert needed([Route("/forgotten", lambda: None)], request) == ("control", None)


async def test_every_route_refuses_every_wrong_token_and_admits_the_right_one(server: Running) -> None:
    """Expected statuses follow from the declared scope alone; refusals have code, message, hint and the headers."""
    async with httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        seen = 0
        for method, path, needs in METHODS:
            assert needs is not None
            scope = needs.scope
            if scope is None and method not in ("GET", "HEAD", "OPTIONS"):
                scope = "control"
            url = path.replace("{", "").replace("}", "")
            for case in CASES:
                token = token_for(case, scope or "view", server)
                headers = {"authorization": f"Bearer {token}"} if token is not None else {}
                answer = await client.request(method, url, headers=headers)
                about = (method, path, case, answer.status_code)
                assert answer.headers["x-content-type-options"] == "nosniff", about
                assert "default-src 'self'" in answer.headers["content-security-policy"], about
                seen += 1
                if case == "right" or scope is None:
                    assert answer.status_code not in (401, 403, 429, 500), about
                    continue
                assert answer.status_code == REFUSED.get(case, 401), about
                if method != "HEAD":
                    assert set(answer.json()) == {"code", "message", "hint"}, about
                    assert all(answer.json().values()), about
                    assert token is None or token not in answer.text, about
        assert seen >= 8 * 25


@pytest.mark.parametrize("path", ["/", "/sdk/relight.js", "/camera/", "/view/somebody", "/nothing", "/api/nothing"])
async def test_pages_are_for_everyone_and_change_nothing(server: Running, path: str) -> None:
    """The mounted files and what does not exist: read without a token, with the headers; other methods need one."""
    async with httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        answer = await client.get(path)
        assert answer.status_code == (404 if "nothing" in path else 200)
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert (await client.post(path)).status_code == 401
        assert (await client.post(path, headers={"authorization": f"Bearer {signed(scope='view')}"})).status_code == 403


def test_the_only_socket_is_the_one_that_is_tested_here() -> None:
    """Another one needs a test like those below."""
    found = [(route.path, declared(route)) for route in ROUTES if isinstance(route, WebSocketRoute)]
    assert [(path, needs.scope) for path, needs in found if needs is not None] == [("/ws", "control")]


def example(kind: type) -> dict[str, Any]:
    """A message of this kind that validates."""
    fields: dict[str, Any] = {
        "offer": {"sdp": "v=0"},
        "candidate": {"candidate": None},
        "resume": {"session": "nobody"},
        "set_light": {"preset": "noon"},
        "set_strength": {"value": 1},
        "set_background": {"mode": "keep"},
        "set_engine": {"engine": "passthrough"},
        "set_avatar": {"quality": "balanced"},
        "set_view": {},
        "set_viewing_key": {"key": "k" * 16},
        "mirror": {"on": True},
        "pause": {"on": False},
        "ping": {"t": 0},
    }
    type_ = get_args(kind.model_fields["type"].annotation)[0]  # type: ignore[attr-defined]
    return {"type": type_, **fields[type_]}


@pytest.mark.parametrize("case", CASES)
async def test_the_socket_refuses_every_wrong_token_with_1008(server: Running, case: str) -> None:
    """No message is carried out; a refused socket hears why."""
    token = token_for(case, "control", server)
    offered = f"bearer.{base64.urlsafe_b64encode((token or '').encode()).decode().rstrip('=')}"
    protocols = ["relight.v1", *([offered] if token is not None else [])]
    async with websockets.connect(server.ws, subprotocols=protocols, proxy=None) as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send(json.dumps({"type": "ping", "t": 1}))
        first = json.loads(await socket.recv())
        if case == "right":
            assert first["type"] == "welcome"
            return
        assert (first["type"], first["code"]) == ("error", "forbidden" if case == "narrow" else "unauthorized")
        assert first["message"]
        assert first["hint"]
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
    assert not server.server.sessions


async def test_every_message_is_refused_without_its_own_scope(server: Running) -> None:
    """A token that controls and does not publish sends no camera; one with both does all."""
    narrow, wide = signed(scope="control"), signed()
    for token in (narrow, wide):
        async with Participant(server.ws, Authorization=f"Bearer {token}") as tab:
            await tab.wait(type="welcome")
            for kind in MESSAGES:
                message = example(kind)
                reply = await tab.ask(**message)
                refused = reply["type"] == "error" and reply["code"] == "forbidden"
                assert refused == (token == narrow and kind.scope != "control"), (message["type"], reply)


async def test_a_link_for_one_picture_shows_no_other(server: Running) -> None:
    """The viewing name in a token and the one in the path are compared."""
    async with httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        for name, status in (("mine", 415), ("theirs", 403)):  # 415: it is let in and sends no SDP
            headers = {"authorization": f"Bearer {signed(scope='view', view='mine')}"}
            answer = await client.post(f"/whep/{name}", headers=headers, content=b"x")
            assert answer.status_code == status
            assert (await client.delete(f"/whep/{name}/x", headers=headers)).status_code in (404, status)


def test_a_token_of_the_product_is_one_of_the_standard() -> None:
    """Another implementation's claims, and ours, are the same: aud, jti, iat, exp, scope."""
    issued = TokenSigner(SECRET.encode()).issue(("view",), HOUR, view="v", name="Ada")
    claims = jwt.decode(issued.text, SECRET, ["HS256"], audience="relight")
    assert claims["scope"] == "view"
    assert (claims["view"], claims["sub"], claims["jti"]) == ("v", "Ada", issued.id)
    assert claims["exp"] - claims["iat"] == HOUR
