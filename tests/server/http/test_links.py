"""Links: a participant shares the own picture until the link expires; the operator's link works once."""

import logging

import httpx
import pytest

from server.http.guesses import BURST, WAIT_S, GuessLimit
from server.logs import NOISY
from tests.server.client import Participant, running
from tests.server.http.test_scopes import NEVER, SECRET, signed


def bearer(token: str) -> dict[str, str]:
    """The header of a token."""
    return {"authorization": f"Bearer {token}"}


async def test_a_link_for_viewers_views_and_does_nothing_else() -> None:
    """It carries a token of scope view for this picture alone, and a QR code of itself."""
    async with (
        running(secret=SECRET) as server,
        httpx.AsyncClient(trust_env=False, base_url=server.http) as client,
        Participant(server.ws, Authorization=f"Bearer {signed()}") as tab,
    ):
        welcome = await tab.wait(type="welcome")
        ask = {"session": welcome["session"], "for_s": 60, "base": "https://relight.example/live"}
        body = (await client.post("/api/links", json=ask, headers=bearer(signed()))).json()
        assert body["url"] == f"https://relight.example/live/view/{welcome['view']}#token={body['token']}"
        assert body["qr"].startswith("<svg")
        as_viewer = bearer(body["token"])
        assert (await client.get("/api/ice", headers=as_viewer)).status_code == 200
        assert (await client.post(f"/whep/{welcome['view']}", headers=as_viewer)).status_code == 415
        assert (await client.post("/whep/other", headers=as_viewer)).status_code == 403
        assert (await client.post("/whip", headers=as_viewer)).status_code == 403
        assert (await client.post("/api/links", json=ask, headers=as_viewer)).status_code == 403
        strange = await client.post("/api/links", json={"session": "x"}, headers=bearer(signed()))
        assert (strange.status_code, strange.json()["code"]) == (404, "no_session")
        late = await client.post("/api/links", json={**ask, "for_s": 10**9}, headers=bearer(signed()))
        assert late.status_code == 422


async def test_without_tokens_a_link_is_the_page_alone() -> None:
    """Nothing is in the fragment where nothing is asked for; the address is the one that was asked."""
    async with running() as server, httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        async with Participant(server.ws) as tab:
            welcome = await tab.wait(type="welcome")
            body = (await client.post("/api/links", json={"session": welcome["session"]})).json()
        assert body["url"] == f"{server.http}/view/{welcome['view']}"
        assert body["token"] is body["expires_s"] is None


async def test_the_printed_link_works_once_and_only_to_join() -> None:
    """It is exchanged for a token of all scopes; again, or for anything else, it is refused."""
    async with running(secret=SECRET) as server, httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        entry = bearer(server.app.state.access.entry_token())
        assert (await client.get("/api/ice", headers=entry)).status_code == 403
        answer = await client.post("/api/token", headers=entry)
        assert answer.status_code == 200
        async with Participant(server.ws, Authorization=f"Bearer {answer.json()['token']}") as tab:
            await tab.wait(type="welcome")
        again = await client.post("/api/token", headers=entry)
        assert (again.status_code, again.json()["message"]) == (401, "this link was used already")
        # One that somebody signed for another process's link is none of this one's.
        assert (await client.post("/api/token", headers=bearer(signed(scope="join")))).status_code == 401
        # A token does not prolong itself.
        assert (await client.post("/api/token", headers=bearer(answer.json()["token"]))).status_code == 403


async def test_whoever_guesses_waits_and_signed_tokens_do_not(caplog: pytest.LogCaptureFixture) -> None:
    """After a burst of wrong tokens that address gets 429 for shared secrets, even the right one."""
    async with (
        running(secret=SECRET, token=["shared-secret"]) as server,
        httpx.AsyncClient(trust_env=False, base_url=server.http) as client,
    ):
        statuses = [(await client.get("/api/ice", headers=bearer(f"g{n}"))).status_code for n in range(40)]
        assert set(statuses) == {401, 429}
        assert statuses == sorted(statuses)
        right = await client.get("/api/ice", headers=bearer("shared-secret"))
        assert (right.status_code, right.json()["code"], right.headers["retry-after"]) == (429, "too_fast", "60")
        assert (await client.get("/api/ice", headers=bearer(signed()))).status_code == 200
        assert (await client.get("/api/ice", headers=bearer(signed(key=NEVER)))).status_code == 429
        async with Participant(server.ws, Authorization="Bearer shared-secret") as tab:
            assert (await tab.wait(type="error"))["code"] == "too_fast"
            assert (await tab.wait(type="closed"))["code"] == 1008
    assert sum("wrong tokens" in record.getMessage() for record in caplog.records) == 1


def test_guesses_are_counted_by_household() -> None:
    """IPv6 by its first 64 bits, IPv4 and what is no address by itself; the wait ends."""
    limit = GuessLimit()
    for _ in range(BURST):
        assert not limit.wrong("2001:db8::1", 0.0)
    assert limit.wrong("2001:db8::2", 0.0)
    for free in ("2001:db8:0:1::1", "10.0.0.1", "", "::ffff:10.0.0.1"):
        limit.check(free, 0.0)
    with pytest.raises(Exception, match="too many wrong tokens"):
        limit.check("2001:db8::3", WAIT_S - 1)
    limit.check("2001:db8::3", WAIT_S)


async def test_no_secret_and_no_session_stands_in_the_log_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    """A session with its token, a refused one, an upload, a link: no token, session's name or picture is logged."""
    for name in NOISY:  # as `configure("debug")` does: aiortc's DEBUG writes SDP with its passwords
        caplog.set_level(logging.INFO, name)
    caplog.set_level(logging.DEBUG)
    async with (
        running(secret=SECRET, log_level="debug", token=["shared-secret-1"]) as server,
        httpx.AsyncClient(trust_env=False, base_url=server.http) as client,
    ):
        caplog.clear()
        good, wrong, entry = signed(), signed(key=NEVER), server.app.state.access.entry_token()
        async with Participant(server.ws, Authorization=f"Bearer {good}") as tab:
            welcome = await tab.wait(type="welcome")
            assert (await tab.offer())["type"] == "answer"
            await tab.pictures(2)
            link = await client.post("/api/links", json={"session": welcome["session"]}, headers=bearer(good))
            await client.post("/api/token", headers=bearer(entry))
            sent = {
                "data": {"session": welcome["session"]},
                "files": {"file": ("me.jpg", b"\xff\xd8 bytes-of-a-picture")},
            }
            upload = await client.post("/api/portrait", headers=bearer("shared-secret-1"), **sent)
            assert upload.json()["code"] == "bad_image"
            await client.post("/api/portrait", headers=bearer(wrong))
            await tab.ask(type="set_viewing_key", key="a-secret-of-the-owner")
        async with Participant(server.ws, Authorization=f"Bearer {wrong}") as tab:
            await tab.wait(type="closed")
        async with Participant(f"{server.ws}?session=the-name-of-another", Authorization=f"Bearer {good}") as tab:
            await tab.wait(type="closed")
    mine = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]  # the test's own
    assert any("session opened" in record.getMessage() for record in mine)
    assert any(record.levelno == logging.DEBUG for record in mine)
    text = "\n".join(f"{record.getMessage()} {record.exc_text or ''} {record.args}" for record in mine)
    for secret in (
        SECRET,
        good,
        wrong,
        entry,
        link.json()["token"],
        "shared-secret-1",
        "a-secret-of-the-owner",
        "the-name-of-another",
    ):
        assert secret not in text, secret
    assert welcome["session"] not in text
    assert "ice-pwd" not in text
    assert "bytes-of-a-picture" not in text
    longest = max((record.getMessage() for record in mine), key=len)
    assert len(longest) < 1000, longest  # room for no picture, in whatever form
