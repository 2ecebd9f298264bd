"""/debug: the operator sees a session's state, not its secrets; nobody else sees anything."""

import json
import re

import httpx
import pytest

from server.errors import Forbidden
from server.http.origin import check_local
from tests.server.client import CameraTrack, Participant, moving_square, running
from tests.server.players import publisher, viewer

SECRET = "0123456789abcdef0123456789abcdef"


async def test_one_session_is_told_without_its_secrets() -> None:
    """Requested and running engine, stats, codecs, candidates by kind, queues and the viewer; no id, name, address."""
    async with running() as server, Participant(server.ws) as tab:
        welcome = await tab.wait(type="welcome")
        await tab.offer(codec="H264")
        await tab.ask(type="mirror", on=True)
        async with viewer(f"{server.http}/whep/{welcome['view']}", "VP8") as watching:
            await watching.connect()
            await watching.more_pictures(3)
            await tab.pictures(8)
            http = watching.http
            [line] = (await http.get(server.http + "/debug/sessions")).json()
            told = (await http.get(f"{server.http}/debug/session/{line['session']}")).json()
            schema = (await http.get(server.http + "/openapi.json")).json()
        assert line["session"] == server.server.sessions[welcome["session"]].label
        assert (told["source"], told["controlled"], told["viewers"]) == ("socket", True, 1)
        assert (told["requested"]["engine"], told["requested"]["mirror"]) == ("passthrough", True)
        assert (told["running"]["name"], told["running"]["showing"]) == ("passthrough", "passthrough")
        assert (told["stats"]["width"], told["stats"]["height"]) == (160, 120)
        assert told["pictures"] >= 8
        assert told["media"]["state"] == "connected"
        assert told["media"]["sends"] == told["media"]["receives"] == ["h264"]
        assert told["media"]["local_candidates"].keys() == {"host"}
        assert told["media"]["path"]["local"] == "host"
        assert told["media"]["bitrate"] >= 250_000
        assert set(told["queues"]) == {"mailbox", "device", "pacer", "messages"}
        [one] = told["viewing"]
        assert (one["connection"]["state"], one["connection"]["sends"]) == ("connected", ["vp8"])
        assert one["packets"] >= 3
        text = json.dumps(told)
        assert not re.search(r"\d+\.\d+\.\d+\.\d+", text)
        assert not any(secret in text for secret in (welcome["session"], welcome["view"], "ufrag"))
        answer = schema["paths"]["/debug/session/{session}"]["get"]["responses"]["200"]["content"]["application/json"]
        assert answer["schema"]["$ref"].endswith("/SessionReport")


async def test_sessions_without_connection_and_by_whip_are_told_and_others_are_not_there() -> None:
    """A page that is only open has no media; a publisher says whip; a name that is none is 404, an id too."""
    async with running() as server, Participant(server.ws) as tab, httpx.AsyncClient(trust_env=False) as client:
        idle = (await tab.wait(type="welcome"))["session"]
        async with publisher(server.http + "/whip", CameraTrack(moving_square())) as source:
            await source.connect()
            page, whip = (await client.get(server.http + "/debug/sessions")).json()
            assert (page["source"], page["connection"], whip["source"]) == ("socket", "", "whip")
            told = (await client.get(f"{server.http}/debug/session/{page['session']}")).json()
            assert (told["media"], told["stats"], told["running"], told["viewing"]) == (None, None, None, [])
        for name in (idle, "x"):
            refused = await client.get(f"{server.http}/debug/session/{name}")
            assert (refused.status_code, refused.json()["code"]) == (404, "no_session")


async def test_with_tokens_only_the_operator_s_admits() -> None:
    """A participant's token of all their scopes is 403, no token 401; the operator's and a shared secret are let in."""
    async with (
        running(secret=SECRET, token="the-shared-secret") as server,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        access = server.app.state.access
        guest = access.issue(("control", "view", "publish"), 60).text
        operator = access.issue(("operate",), 60).text
        for token, status in (("", 401), (guest, 403), (operator, 200), ("the-shared-secret", 200)):
            headers = {"authorization": f"Bearer {token}"} if token else {}
            assert (await client.get(server.http + "/debug/sessions", headers=headers)).status_code == status


async def test_without_tokens_what_a_proxy_passes_on_and_foreign_names_are_refused() -> None:
    """The address of a proxy on this machine is loopback, and so is one that a foreign name was pointed at."""
    async with running() as server, httpx.AsyncClient(trust_env=False) as client:
        url = server.http + "/debug/sessions"
        assert (await client.get(url)).status_code == 200
        for headers in (
            {"x-forwarded-for": "127.0.0.1"},
            {"forwarded": "for=127.0.0.1"},
            {"x-real-ip": "127.0.0.1"},
            {"via": "1.1 proxy"},
            {"host": "evil.example"},
        ):
            refused = await client.get(url, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("address", ["192.0.2.7", "", "::ffff:192.0.2.7"])
def test_another_machine_is_refused(address: str) -> None:
    """Whatever Host it sends."""
    check_local({"host": "localhost:8080"}, "::1")
    with pytest.raises(Forbidden):
        check_local({"host": "localhost:8080"}, address)
