"""Runs drawn requests against a real server in this process; tells which get no proper answer.

    python -m tests.server.fuzz.run KIND BEGIN END

KIND is one of portrait, photo, hdri (uploads), offer, whip (SDP), message (the WebSocket) and api (HTTP at large). A
finding is a crash, an answer after more than LIMIT_S seconds or none, a status of 500, an error without code, message
and hint, a code that blames the server, an exception in the server's log, and a bystander who no longer hears an
answer. The same numbers draw the same cases. A crash ends the run: the last line tells the case.
"""

import asyncio
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets

from tests.server.client import Participant, Running, running
from tests.server.fuzz.odd_messages import odd_message
from tests.server.fuzz.odd_offers import odd_offer
from tests.server.fuzz.odd_requests import odd_request
from tests.server.fuzz.odd_uploads import Upload, odd_upload

LIMIT_S = 30.0  # a machine shared by many; the slowest case takes a second alone
BLAMED = ("internal", "server_error", "engine_error")
UPLOADS = {"portrait": "/api/portrait", "photo": "/api/lights/from-photo", "hdri": "/api/lights/from-hdri"}
KINDS = (*UPLOADS, "offer", "whip", "message", "api")
Case = Callable[[random.Random], Awaitable[tuple[str, str]]]  # draws and does one: what came, and "" or the finding


class _Errors(logging.Handler):
    """Keeps what the server logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(logging.Formatter("%(name)s: %(message)s").format(record)[-1500:])


async def run(kind: str, begin: int, end: int, show: bool = False) -> tuple[Counter[str], list[str]]:
    """Does the cases `begin` to `end` - 1; returns how often each answer came, and the findings."""
    came: Counter[str] = Counter()
    findings: list[str] = []
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    limits = {"messages_per_s": 10**6, "message_burst": 10**6, "max_sessions": 4, "open": True}
    try:
        async with running(**limits) as server, Participant(server.ws) as bystander, _cases(kind, server) as case:
            for number in range(begin, end):
                if show:
                    print(number, end="\r", flush=True, file=sys.stderr)
                began = time.monotonic()
                try:
                    async with asyncio.timeout(LIMIT_S):
                        what, finding = await case(random.Random(f"{kind} {number}"))
                except TimeoutError:
                    what, finding = "no answer", f"no answer within {LIMIT_S:.0f} s"
                came[what] += 1
                if errors.told:
                    finding += "; logged: " + " | ".join(errors.told)
                    errors.told.clear()
                if finding:
                    findings.append(f"{kind} {number} ({time.monotonic() - began:.1f} s): {finding}")
                if number % 100 == 99:
                    await bystander.ask(type="ping", t=number)
            await bystander.ask(type="ping", t=-1)
            assert (await bystander.wait(type="pong", t=-1))["type"] == "pong"
    finally:
        logging.getLogger().removeHandler(errors)
    return came, findings


@asynccontextmanager
async def _cases(kind: str, server: Running) -> AsyncIterator[Case]:
    async with httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=LIMIT_S) as client:
        if kind in UPLOADS:
            async with Participant(server.ws) as owner:
                welcome = await owner.wait(type="welcome")
                session = welcome["session"] if kind == "portrait" else None
                yield lambda rng: _upload(client, UPLOADS[kind], odd_upload(rng, session))
        elif kind == "whip":
            yield lambda rng: _publish(client, odd_offer(rng))
        elif kind == "api":
            routes = _routes(server)
            yield lambda rng: _request(client, server, routes, rng)
        else:
            talk = _Talk(server.ws)
            try:
                yield talk.offer if kind == "offer" else talk.message
            finally:
                await talk.close()


async def _upload(client: httpx.AsyncClient, path: str, upload: Upload) -> tuple[str, str]:
    headers = {"content-type": upload.content_type} if upload.content_type else {}
    answer = await client.post(path, content=upload.body, headers=headers)
    what, finding = judged(answer)
    return what, f"{finding}: {upload.story}" if finding else ""


async def _publish(client: httpx.AsyncClient, sdp: str) -> tuple[str, str]:
    answer = await client.post(
        "/whip", content=sdp.encode("utf-8", "replace"), headers={"content-type": "application/sdp"}
    )
    if answer.status_code == 201:
        ended = await client.delete(answer.headers["location"])
        if ended.status_code not in (200, 204):
            return "201", f"cannot be ended: {ended.status_code} {ended.text[:200]}; {sdp!r}"
        return "201", ""
    what, finding = judged(answer)
    return what, f"{finding}: {sdp[:3000]!r}" if finding else ""


def _routes(server: Running) -> list[tuple[str, str]]:
    found = [
        (method.upper(), path) for path, methods in server.app.openapi().get("paths", {}).items() for method in methods
    ]
    return [*found, ("GET", "/"), ("GET", "/view/{name}"), ("GET", "/sdk/{name}"), ("GET", "/{name}"), ("GET",
    "/docs"),
            ("GET", "/ws"), ("GET", "/metrics"), ("GET", "/openapi.json")]  # fmt: skip


async def _request(
    client: httpx.AsyncClient, server: Running, routes: list[tuple[str, str]], rng: random.Random
) -> tuple[str, str]:
    drawn = odd_request(rng, routes, list(server.server.sessions))
    try:
        request = client.build_request(drawn.method, drawn.path, headers=drawn.headers, content=drawn.body)
        answer = await client.send(request)
    except (httpx.InvalidURL, UnicodeEncodeError, httpx.LocalProtocolError, ValueError):
        return "not sent", ""
    except httpx.RemoteProtocolError as error:
        return "hung up", f"hung up: {error}: {drawn}"
    if answer.status_code == 201 and "location" in answer.headers:
        await client.delete(answer.headers["location"])
    if drawn.method == "HEAD" or answer.status_code < 400:
        return str(answer.status_code), "" if answer.status_code < 500 else f"{answer.status_code}: {drawn}"
    if answer.headers.get("content-type", "").startswith("text/plain") and answer.text.startswith("Invalid"):
        return "not HTTP", ""  # uvicorn's own answer to what is no HTTP
    what, finding = judged(answer)
    return what, f"{finding}: {drawn}" if finding else ""


def judged(answer: httpx.Response) -> tuple[str, str]:
    """Returns what came, and why it is no proper answer, else ""."""
    if answer.status_code < 300:
        return str(answer.status_code), ""
    try:
        body = answer.json()
        lacking = [name for name in ("code", "message", "hint") if not isinstance(body.get(name), str)]
    except (ValueError, AttributeError):
        return str(answer.status_code), f"{answer.status_code} without JSON: {answer.text[:200]!r}"
    what = f"{answer.status_code} {body.get('code')}"
    if lacking or not body["message"]:
        return what, f"{answer.status_code} without {lacking or 'a message'}: {answer.text[:300]}"
    if body["code"] in BLAMED or answer.status_code == 500:
        return what, f"{answer.status_code} {answer.text[:300]}"
    return what, ""


class _Talk:
    """Speaks on one WebSocket, and on a new one where the server closed it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._socket: Any = None
        self._count = 0

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def offer(self, rng: random.Random) -> tuple[str, str]:
        sdp = odd_offer(rng)
        text = json.dumps({"type": "offer", "sdp": sdp})
        what, finding = await self._say(text)
        return what, f"{finding}: {sdp[:3000]!r}" if finding else ""

    async def message(self, rng: random.Random) -> tuple[str, str]:
        said = odd_message(rng)
        what, finding = await self._say(said)
        return what, f"{finding}: {said[:1000]!r}" if finding else ""

    async def _say(self, said: str | bytes) -> tuple[str, str]:
        """Sends it, then a ping; whatever came before the pong is the answer."""
        if self._socket is None:
            self._socket = await websockets.connect(self._url, proxy=None, max_size=None)
            json.loads(await self._socket.recv())  # welcome
        self._count += 1
        try:
            await self._socket.send(said)
            await self._socket.send(json.dumps({"type": "ping", "t": self._count, "id": f"after {self._count}"}))
            heard = []
            while True:
                reply = json.loads(await self._socket.recv())
                if reply.get("id") == f"after {self._count}":
                    break
                if reply.get("type") not in ("stats", "notice"):
                    heard.append(reply)
        except websockets.ConnectionClosed as closed:
            self._socket = None
            code = closed.rcvd.code if closed.rcvd else None
            return f"closed {code}", "" if code in (1003, 1007, 1008, 1009) else f"closed with {code}"
        if len(heard) != 1:
            return f"{len(heard)} answers", f"{len(heard)} answers: {heard}"
        (reply,) = heard
        if reply["type"] != "error":
            return reply["type"], ""
        lacking = [name for name in ("code", "message", "hint") if not isinstance(reply.get(name), str)]
        if lacking or reply["code"] in BLAMED or not reply["message"]:
            return f"error {reply['code']}", f"error without {lacking}, or the server's fault: {reply}"
        return f"error {reply['code']}", ""


def main() -> int:
    """Runs what the command line asks for; the exit status is the number of findings, at most 100."""
    kind, begin, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    began = time.monotonic()
    came, findings = asyncio.run(run(kind, begin, end, show=True))
    for finding in findings:
        print(finding)
    print(f"{kind}: {end - begin} cases in {time.monotonic() - began:.0f} s, {len(findings)} findings; {dict(came)}")
    return min(len(findings), 100)


if __name__ == "__main__":
    raise SystemExit(main())
