"""server.http.access: tokens, subprotocols and CORS, as a program, a browser and a stranger meet them."""

import base64
import logging

import httpx
import pytest
import websockets

from server.errors import ForeignOrigin, ServerError, Unauthorized
from server.http.access import AccessControl
from server.http.serve import run
from server.settings import Settings
from tests.server.client import Participant, running

TOKEN = "correct-horse.battery_staple~1"
FOREIGN = {"host": "relight.example", "origin": "https://meet.example"}


def as_protocols(token: str) -> str:
    """What a browser offers as subprotocols."""
    return f"relight.v1, bearer.{base64.urlsafe_b64encode(token.encode()).decode().rstrip('=')}"


@pytest.mark.parametrize(
    ("tokens", "headers", "error"),
    [
        ([], {}, None),
        ([], FOREIGN, ForeignOrigin),
        ([TOKEN], {}, Unauthorized),
        ([TOKEN], {"authorization": f"Bearer {TOKEN}"}, None),
        ([TOKEN], {"authorization": f"bearer  {TOKEN} "}, None),
        ([TOKEN], {"authorization": f"Basic {TOKEN}"}, Unauthorized),
        ([TOKEN], {"authorization": "Bearer"}, Unauthorized),
        ([TOKEN], {"authorization": f"Bearer {TOKEN[:-1]}"}, Unauthorized),
        ([TOKEN], {"authorization": "Bearer caf\xe9"}, Unauthorized),
        (["other", TOKEN], {"authorization": f"Bearer {TOKEN}"}, None),
        ([TOKEN], {**FOREIGN, "authorization": f"Bearer {TOKEN}"}, None),
        ([TOKEN], FOREIGN, Unauthorized),
        ([TOKEN], {"sec-websocket-protocol": as_protocols(TOKEN)}, None),
        ([TOKEN], {"sec-websocket-protocol": as_protocols("wrong")}, Unauthorized),
        ([TOKEN], {"sec-websocket-protocol": "relight.v1"}, Unauthorized),
        ([TOKEN], {"sec-websocket-protocol": "relight.v1, bearer."}, Unauthorized),
        ([TOKEN], {"sec-websocket-protocol": "bearer.a"}, Unauthorized),
        ([TOKEN], {"sec-websocket-protocol": "bearer._w"}, Unauthorized),  # no UTF-8
    ],
)
def test_a_token_admits_any_page_and_without_one_the_origin_decides(
    tokens: list[str], headers: dict, error: type[ServerError] | None
) -> None:
    """Bearer and subprotocol say the same; half a token, another scheme and broken base64 admit nobody."""
    access = AccessControl(Settings(token=tokens, host="0.0.0.0"))
    for scope in ("control", "view", "publish"):
        if error is None:
            access.check(headers, scope)
            continue
        with pytest.raises(error) as found:
            access.check(headers, scope)
        assert TOKEN not in str(found.value)


@pytest.mark.parametrize(
    ("given", "tokens"),
    [("", []), ("one", ["one"]), ("one, two,", ["one", "two"]), ('["one", "a+/=="]', ["one", "a+/=="]), ("[]", [])],
)
def test_tokens_are_read_as_json_or_with_commas(monkeypatch: pytest.MonkeyPatch, given: str, tokens: list[str]) -> None:
    """RELIGHT_TOKEN is easy to write in a shell."""
    monkeypatch.setenv("RELIGHT_TOKEN", given)
    assert [token.get_secret_value() for token in Settings().token] == tokens


@pytest.mark.parametrize("given", ['["hush-hush"', "hush hush", '["hush-hush", 5]', '["hush-hush", ""]'])
def test_a_token_that_cannot_be_used_is_an_error_that_does_not_repeat_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, given: str
) -> None:
    """The setting and the remedy are named, the secret is not."""
    monkeypatch.setenv("RELIGHT_TOKEN", given)
    assert run({}) == 2
    said = capsys.readouterr().err
    assert "setting token" in said
    assert "hush" not in said
    assert "hush" not in repr(Settings(token=["hush-hush"]))


async def test_a_socket_needs_the_token_and_gets_its_subprotocol(caplog: pytest.LogCaptureFixture) -> None:
    """Without it: the reason, and 1008. With it: the welcome. The token stands in no log."""
    caplog.set_level(logging.DEBUG)
    async with running(token=[TOKEN]) as server:
        async with Participant(server.ws) as tab:
            assert (await tab.wait(type="error"))["code"] == "unauthorized"
            assert (await tab.wait(type="closed"))["code"] == 1008
        assert not server.server.sessions
        async with Participant(server.ws, Authorization=f"Bearer {TOKEN}", Origin="https://meet.example") as tab:
            await tab.wait(type="welcome")
        offered = as_protocols(TOKEN).split(", ")
        async with websockets.connect(server.ws, subprotocols=offered, origin="https://meet.example") as socket:
            assert socket.subprotocol == "relight.v1"
            assert '"welcome"' in await socket.recv()
    ours = [record for record in caplog.records if not record.name.startswith(("websockets", "httpx"))]
    assert not any(TOKEN in record.getMessage() for record in ours)


async def test_without_tokens_a_socket_may_offer_the_subprotocol_or_none() -> None:
    """A page that always offers it works with a server that asks for no token."""
    async with running() as server:
        async with websockets.connect(server.ws, subprotocols=["relight.v1"]) as socket:
            assert socket.subprotocol == "relight.v1"
        async with websockets.connect(server.ws) as socket:
            assert socket.subprotocol is None
            assert '"welcome"' in await socket.recv()


async def test_uploads_and_turn_passwords_need_the_token() -> None:
    """401 in words before the body is read; page, gallery and health are there for everyone."""
    async with running(token=[TOKEN]) as server, httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        for method, path in (("POST", "/api/lights/from-hdri"), ("POST", "/api/portrait"), ("GET", "/api/ice")):
            refused = await client.request(method, path)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized"), path
            assert refused.headers["www-authenticate"] == "Bearer"
            assert (await client.request(method, path, headers=bearer)).status_code in (200, 422), path
        for path in ("/", "/api/lights", "/api/avatar", "/healthz", "/readyz", "/metrics", "/docs"):
            assert (await client.get(path)).status_code == 200, path


@pytest.mark.parametrize(
    ("settings", "path", "allowed"),
    [
        ({}, "/api/lights", "*"),
        ({}, "/sdk/relight.js", "*"),
        ({}, "/api/avatar", None),
        ({"allowed_origins": ["https://meet.example"]}, "/api/avatar", "https://meet.example"),
        ({"token": [TOKEN]}, "/api/avatar", "https://meet.example"),
        ({"token": [TOKEN]}, "/api/ice", "https://meet.example"),  # a refusal is readable too
    ],
)
async def test_cors_names_the_pages_that_may_read_an_answer(settings: dict, path: str, allowed: str | None) -> None:
    """Gallery and SDK are for everyone, the rest for admitted origins, or, with tokens, for who has one."""
    async with running(**settings) as server, httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        answer = await client.get(path, headers={"origin": "https://meet.example"})
        assert answer.headers.get("access-control-allow-origin") == allowed
        if allowed != "*":
            assert answer.headers["vary"] == "origin"
        assert "access-control-allow-origin" not in (await client.get(path)).headers


async def test_a_preflight_is_answered_for_admitted_origins_only() -> None:
    """It carries no token itself; 204 with what may be sent, or without leave."""
    ask = {
        "origin": "https://meet.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    async with running(token=[TOKEN]) as server, httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        answer = await client.options("/api/portrait", headers=ask)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "https://meet.example"
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert "POST" in answer.headers["access-control-allow-methods"]
    async with running() as server, httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        answer = await client.options("/api/portrait", headers=ask)
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-methods" not in answer.headers
