"""A front answers as a single server does: access, uploads, WHIP and WHEP, links, operations."""

import asyncio
import contextlib

import cv2
import httpx
import pytest

from engine.bench.sample_clip import load_portrait
from tests.server.client import CameraTrack, Participant, moving_square
from tests.server.cluster.fronted import SECRET, connected, fronted
from tests.server.players import publisher, viewer


async def test_a_front_answers_as_one_server() -> None:
    """Publishing, viewing, uploads, links and the operator's lists find the worker that has the session."""
    async with fronted() as running, httpx.AsyncClient(base_url=running.http, trust_env=False, timeout=60) as http:
        health = (await http.get("/readyz")).json()
        assert (health["sessions"], health["max_sessions"], health["engine"]) == (0, 8, "passthrough")
        camera = CameraTrack(moving_square((240, 320)))
        async with (
            connected(running) as (tab, session),
            publisher(f"{running.http}/whip?view=studio", camera) as source,
        ):
            answer = await source.connect()
            assert answer.status_code == 201, answer.text
            published = answer.headers["location"].removeprefix("/whip/")
            assert running.worker_of(published) is not running.worker_of(session)  # where there is more room
            view = (await tab.wait(type="welcome"))["view"]
            async with viewer(f"{running.http}/whep/studio") as one, viewer(f"{running.http}/whep/{view}") as other:
                for each in (one, other):
                    assert (await each.connect()).status_code == 201
                    assert await each.more_pictures(3)
                assert (await one.http.delete(one.location)).status_code == 200
            taken = publisher(f"{running.http}/whip?view=studio", CameraTrack(moving_square()))
            async with taken:
                assert (await taken.connect()).status_code == 409
            link = await http.post("/api/links", json={"session": session})
            assert link.json()["url"] == f"{running.http}/view/{view}"
            listed = (await http.get("/debug/sessions")).json()
            assert sorted((line["source"], line["worker"]) for line in listed) == sorted(
                [("socket", running.worker_of(session).number), ("whip", running.worker_of(published).number)]
            )
            for line in listed:
                one_of_them = (await http.get(f"/debug/session/{line['session']}")).json()
                assert one_of_them["source"] == line["source"]
            # Beside a publication a control socket comes and goes.
            async with Participant(f"{running.ws}?session={published}") as control:
                await control.wait(type="welcome")
                assert (await control.ask(type="set_light", preset="neon"))["type"] == "ack"
            text = (await http.get("/metrics")).text
            assert 'relight_workers{state="ready"} 2.0' in text
            assert sum(f'relight_sessions{{worker="{n}"}} 1.0' in text for n in (0, 1)) == 2
            assert (await source.http.delete(source.location)).status_code == 200
        assert running.front.directory.find("studio") is None
        assert (await http.delete(answer.headers["location"])).json()["code"] == "no_session"
        png = cv2.imencode(".png", load_portrait()[..., ::-1])[1].tobytes()
        lit = await http.post("/api/lights/from-photo", files={"file": ("face.png", png)})
        assert lit.status_code == 200, lit.text
        # What httpx or a URL cannot hold is passed on as it came, or refused in words.
        odd = await http.get("/api/avatar", headers=[(b"x-city", b"S\xe3o Paulo")])
        assert odd.status_code == 200
        for method, path in (("POST", "/whep/%0A"), ("DELETE", "/whip/%0A"), ("DELETE", f"/whep/{view}/%00")):
            answer = await http.request(method, path)
            assert answer.status_code in (404, 415), (path, answer.text)
            assert set(answer.json()) == {"code", "message", "hint"}
        nobody = await http.post("/api/portrait", files={"file": ("face.png", png)}, data={"session": "nobody"})
        assert nobody.json()["code"] == "bad_upload"


async def test_who_comes_at_once_is_spread() -> None:
    """Those on their way count, or all of them would find the same worker the emptiest."""
    async with fronted() as running, contextlib.AsyncExitStack() as stack:
        tabs = [Participant(running.ws) for _ in range(4)]
        await asyncio.gather(*(stack.enter_async_context(tab) for tab in tabs))
        for tab in tabs:
            await tab.wait(type="welcome")
        assert sorted(len(worker.sessions) for worker in running.front.pool) == [2, 2]
        assert not any(worker.coming for worker in running.front.pool)


async def test_tokens_are_asked_for_by_front_and_workers() -> None:
    """Nothing passes without a token, and no token or address opens a worker past its front."""
    async with fronted(workers=1, token=["shared-secret-1"]) as running:
        (worker,) = running.front.pool
        token = {"Authorization": "Bearer shared-secret-1"}
        async with Participant(running.ws) as stranger:
            assert (await stranger.wait(type="error"))["code"] == "unauthorized"
            assert (await stranger.wait(type="closed"))["code"] == 1008
        async with connected(running, **token):
            pass
        async with httpx.AsyncClient(trust_env=False) as http:
            for path in ("/api/workers", "/debug/sessions", "/api/ice"):
                assert (await http.get(running.http + path)).status_code == 401
                assert (await http.get(running.http + path, headers=token)).status_code == 200
                assert (await http.get(worker.launched.url + path, headers=token)).status_code == 403
            inside = f"{worker.launched.url}/internal/status"
            assert (await http.get(inside, headers={"relight-front": "wrong"})).status_code == 403
            assert (await http.get(inside, headers={"relight-front": SECRET})).json()["limit"] == 4
            # The front takes nobody's word for where a request comes from, and shows nobody what is inside.
            forged = {**token, "relight-front": SECRET, "relight-client": "10.0.0.1"}
            assert (await http.get(f"{running.http}/internal/status", headers=forged)).status_code == 404


async def test_a_foreign_page_is_refused() -> None:
    """Without tokens the origin decides, as in a single server."""
    async with fronted(workers=1) as running, httpx.AsyncClient(base_url=running.http, trust_env=False) as http:
        async with Participant(running.ws, Origin="https://evil.example") as foreign:
            assert (await foreign.wait(type="error"))["code"] == "foreign_origin"
        async with connected(running, Origin=running.http):
            pass
        passed_on = await http.get("/api/workers", headers={"x-forwarded-for": "1.2.3.4"})
        assert passed_on.status_code == 403


@pytest.mark.parametrize("said", ["1", "auto", "ray://host:10001"])
def test_the_number_of_workers_is_a_setting(said: str) -> None:
    """A number, auto, or a cluster's address; else the setting is refused by name."""
    from pydantic import ValidationError

    from server.settings import Settings

    assert Settings(workers=said).workers == said
    with pytest.raises(ValidationError, match="workers"):
        Settings(workers=f"{said} 0")
