"""server.http.app, routes, middleware, origin and openapi_page: answers to a browser, a load balancer and strangers."""

import json
from pathlib import Path

import httpx
import pytest

from engine.passthrough import PassthroughEngine
from lcvd.lighting.presets import PRESETS
from server.errors import ForeignOrigin
from server.http.origin import check_origin
from server.settings import Settings
from tests.engine.fakes import FakeEngine
from tests.server.client import Participant, running


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Makes a fake client_web."""
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "main.js").write_text("export {};")
    (tmp_path / "style.css").write_text("body{}")
    return tmp_path


async def get(url: str, **kwargs) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url, **kwargs)


async def test_the_page_is_served_with_its_types_and_a_strict_policy(page: Path) -> None:
    """index.html is never cached, modules are JavaScript, and only our own origin may be loaded or spoken to."""
    async with running(client_dir=page) as server:
        index = await get(server.http + "/")
        assert index.status_code == 200
        assert index.headers["content-type"].startswith("text/html")
        assert index.headers["cache-control"] == "no-store"
        policy = index.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert f"ws://127.0.0.1:{server.port}" in policy
        assert "http:" not in policy
        script = await get(server.http + "/main.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert script.headers["x-content-type-options"] == "nosniff"
        assert (await get(server.http + "/style.css")).headers["content-type"].startswith("text/css")


async def test_nothing_outside_the_page_is_served(page: Path) -> None:
    """Paths that climb out of the folder, and unknown ones, are 404 with {code, message, hint}."""
    (page.parent / "secret.txt").write_text("secret")
    async with running(client_dir=page) as server:
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/no-such-file"):
            answer = await get(server.http + path)
            assert answer.status_code == 404
            assert set(answer.json()) == {"code", "message", "hint"}


async def test_a_range_of_a_page_file_is_the_whole_file() -> None:
    """Also one that ends before it begins, which starlette alone answers in plain text."""
    async with running() as server, httpx.AsyncClient(base_url=server.http, trust_env=False) as client:
        for path in ("/", "/view/somebody"):
            whole = (await client.get(path)).text
            for asked in ("bytes=9-1", "bytes=0-3", "lines=1"):
                answer = await client.get(path, headers={"range": asked})
                assert (answer.status_code, answer.text) == (200, whole)


async def test_a_hostile_host_header_cannot_write_the_policy(page: Path) -> None:
    """A Host with a semicolon is left out of the header."""
    async with running(client_dir=page) as server:
        answer = await get(server.http + "/", headers={"host": "x;script-src *"})
        assert "script-src *" not in answer.headers["content-security-policy"]


async def test_the_gallery_lists_the_presets_in_order() -> None:
    """`original` first; every light is complete."""
    async with running() as server:
        lights = (await get(server.http + "/api/lights")).json()
        assert [light["name"] for light in lights] == [p.name for p in PRESETS]
        assert lights[0]["name"] == "original"
        assert all({"title", "description", "lighting"} <= light.keys() for light in lights)


async def test_ice_servers_are_those_of_the_settings() -> None:
    """GET /api/ice gives what the operator set, by default no server and every way."""
    servers = [{"urls": "turn:turn.example.org", "username": "u", "credential": "p"}]
    async with running(ice_servers=servers) as server:
        assert (await get(server.http + "/api/ice")).json() == {"ice_servers": servers, "ice_policy": "all"}
    async with running() as server:
        assert (await get(server.http + "/api/ice")).json() == {"ice_servers": [], "ice_policy": "all"}
    async with running(ice_policy="relay", ice_servers=servers) as server:
        assert (await get(server.http + "/api/ice")).json() == {"ice_servers": servers, "ice_policy": "relay"}


async def test_another_method_is_told_which_one_is_meant() -> None:
    """405 with Allow at the path of a route; a path without one stays 404, and the page's own files go on."""
    async with running() as server, httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        for method, path, allowed in (
            ("GET", "/api/portrait", "POST"),
            ("HEAD", "/api/links", "POST"),
            ("OPTIONS", "/api/token", "POST"),
            ("POST", "/api/lights", "GET"),
            ("PUT", "/api/lights/from-hdri", "POST"),
            ("POST", "/index.html", "GET, HEAD"),
        ):
            answer = await http.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed), (method, path)
            if method != "HEAD":
                assert (answer.json()["code"], answer.json()["hint"]) == ("http_405", f"use {allowed}; see /docs")
        assert (await http.get("/api/nothing")).status_code == 404
        assert (await http.get("/index.html")).status_code == 200


async def test_a_body_that_cannot_be_read_is_named() -> None:
    """The parsers of forms and JSON know no field; the answer still says what to send."""
    async with running() as server, httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        form = {"content-type": "multipart/form-data; boundary=b"}
        for path, headers, body in (
            ("/api/portrait", form, b"--b\r\nTrue--b--\r\n"),
            ("/api/links", {"content-type": "application/json"}, b"\x1f\x8b\x00"),
        ):
            answer = await http.post(path, headers=headers, content=body)
            assert (answer.status_code, answer.json()["code"]) == (400, "http_400")
            assert answer.json()["message"].startswith("the body cannot be read: ")
            assert "multipart/form-data" in answer.json()["hint"]


async def test_health_and_readiness() -> None:
    """Alive always; ready once warm and while there is a place."""
    async with running(max_sessions=1) as server:
        assert (await get(server.http + "/healthz")).json()["status"] == "ok"
        ready = await get(server.http + "/readyz")
        assert (ready.status_code, ready.json()["engine"]) == (200, "passthrough")
        async with Participant(server.ws) as tab:
            await tab.offer()
            full = await get(server.http + "/readyz")
            assert (full.status_code, full.json()["code"]) == (503, "busy")
        server.server.stopping = True
        assert (await get(server.http + "/readyz")).json()["code"] == "not_ready"


async def test_the_engine_is_warm_before_the_server_listens() -> None:
    """Nobody meets a cold engine."""
    warmed = []
    fake = FakeEngine(on_warmup=lambda: warmed.append(True))
    async with running(lambda name: fake if name == "ratio" else PassthroughEngine(), engine="ratio") as server:
        assert warmed == [True]
        assert (await get(server.http + "/readyz")).json()["engine"] == "ratio"


async def test_the_api_page_needs_nothing_from_elsewhere() -> None:
    """/docs describes every route with its models and loads no script and no foreign file."""
    async with running() as server:
        html = (await get(server.http + "/docs")).text
        schema = (await get(server.http + "/openapi.json")).json()
        assert "<script" not in html
        assert "https://" not in html
        for path, methods in schema["paths"].items():
            assert path in html
            for method, operation in methods.items():
                assert operation["description"]
                answers = operation["responses"]
                success = next(answer for status, answer in answers.items() if status.startswith("2"))
                no_model = path in ("/metrics", "/api/qr", "/whip", "/whep/{name}") or method in ("patch", "delete")
                assert no_model or "$ref" in json.dumps(success["content"]), path
                refusals = [answer["content"] for status, answer in answers.items() if status.startswith(("4", "5"))]
                error = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
                assert all(content == error for content in refusals), (path, refusals)
        answer = schema["paths"]["/whip"]["post"]["responses"]["201"]
        assert list(answer["content"]) == ["application/sdp"]


async def test_a_foreign_page_cannot_drive_the_server() -> None:
    """Its WebSocket gets the reason and is closed; its POST is refused; our own page and programs are let in."""
    async with running() as server:
        async with Participant(server.ws, Origin="https://evil.example") as tab:
            assert (await tab.wait(type="error"))["code"] == "foreign_origin"
            assert (await tab.wait(type="closed"))["code"] == 1008
        assert not server.server.sessions
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                server.http + "/api/lights/from-hdri",
                files={"file": b"x"},
                headers={"origin": "https://evil.example"},
            )
            assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
        async with Participant(server.ws, Origin=server.http) as tab:
            await tab.wait(type="welcome")


@pytest.mark.parametrize(
    ("origin", "host", "settings", "admitted"),
    [
        (None, "127.0.0.1:8080", {}, True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", {}, True),
        ("http://localhost:8080", "localhost:8080", {}, True),
        ("http://[::1]:8080", "[::1]:8080", {}, True),
        ("http://localhost:9999", "localhost:8080", {}, False),
        ("null", "localhost:8080", {}, False),
        ("chrome-extension://gfdfnmlibjgdahiafelbodlgannbjbcm", "localhost:8080", {}, True),
        ("chrome-extension://gfdfnmlibjgdahiafelbodlgannbjbcm", "10.0.0.5:8080", {"host": "0.0.0.0"}, True),
        ("chrome-extension://abcdefghijklmnopabcdefghijklmnop", "localhost:8080", {}, False),
        ("http://evil.example", "localhost:8080", {}, False),
        # DNS rebinding: a foreign name that resolves to loopback
        ("http://evil.example:8080", "evil.example:8080", {}, False),
        ("http://evil.example:8080", "evil.example:8080", {"allowed_origins": ["http://evil.example:8080"]}, True),
        ("https://meet.example", "meet.example", {"host": "0.0.0.0"}, True),
        ("https://meet.example", "10.0.0.5:8080", {"host": "0.0.0.0"}, False),
        ("https://meet.example", "10.0.0.5:8080", {"allowed_origins": ["*"]}, True),
    ],
)
def test_which_origins_are_ours(origin: str | None, host: str, settings: dict, admitted: bool) -> None:
    """Same host and port, a listed origin, or no browser; on loopback only loopback names."""
    headers = {"host": host} if origin is None else {"host": host, "origin": origin}
    try:
        check_origin(headers, Settings(**settings))
    except ForeignOrigin:
        assert not admitted
    else:
        assert admitted


async def test_pages_beyond_the_limit_get_busy() -> None:
    """Open WebSockets are bounded too, without an offer."""
    async with running(max_sessions=1) as server:
        tabs = [await Participant(server.ws).__aenter__() for _ in range(server.server.settings.max_sockets)]
        await tabs[-1].wait(type="welcome")
        async with Participant(server.ws) as late:
            assert (await late.wait(type="error"))["code"] == "busy"
        for tab in tabs:
            await tab.leave()


async def test_an_idle_page_is_closed() -> None:
    """A WebSocket without a connection does not stay for ever."""
    async with running(idle_timeout_s=1) as server, Participant(server.ws) as tab:
        assert (await tab.wait(type="closed"))["code"] == 1001
