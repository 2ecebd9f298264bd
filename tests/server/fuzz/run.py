"""Runs drawn requests against a real server in this process; tells which get no proper answer.

    python -m tests.server.fuzz.run KIND BEGIN END

KIND is one of portrait, photo, hdri (uploads), offer, whip, whep (SDP), message (the WebSocket), api (HTTP at large)
and order (what several tabs do, as hypothesis draws it: END - BEGIN stories of at most 25 steps; BEGIN is the seed). A
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
from aiortc.mediastreams import AudioStreamTrack
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from tests.server.client import Participant, Running, running
from tests.server.fuzz.answers import ErrorLog, improper, judged
from tests.server.fuzz.odd_messages import odd_message
from tests.server.fuzz.odd_offers import odd_offer, odd_viewer_offer
from tests.server.fuzz.odd_requests import odd_request
from tests.server.fuzz.odd_uploads import Upload, odd_upload
from tests.server.fuzz.order import PLACES, Order
from tests.server.fuzz.tabs import LIMIT_S, served

UPLOADS = {"portrait": "/api/portrait", "photo": "/api/lights/from-photo", "hdri": "/api/lights/from-hdri"}
KINDS = (*UPLOADS, "offer", "whip", "whep", "message", "api", "order")
Case = Callable[[random.Random], Awaitable[tuple[str, str]]]  # draws and does one: what came, and "" or the finding


async def run(kind: str, begin: int, end: int, show: bool = False) -> tuple[Counter[str], list[str]]:
    """Does the cases `begin` to `end` - 1; returns how often each answer came, and the findings."""
    came: Counter[str] = Counter()
    findings: list[str] = []
    errors = ErrorLog()
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
                if told := errors.take():
                    finding += "; logged: " + " | ".join(told)
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
            yield lambda rng: _exchange(client, "/whip", odd_offer(rng))
        elif kind == "whep":
            async with Participant(server.ws) as owner:
                view = (await owner.wait(type="welcome"))["view"]
                await owner.offer(sound=AudioStreamTrack())
                yield lambda rng: _exchange(client, f"/whep/{view}", odd_viewer_offer(rng))
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


async def _exchange(client: httpx.AsyncClient, path: str, sdp: str) -> tuple[str, str]:
    headers = {"content-type": "application/sdp"}
    answer = await client.post(path, content=sdp.encode("utf-8", "replace"), headers=headers)
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
        return f"error {reply.get('code')}", improper(reply)


def run_order(stories: int, seed: int) -> Counter[str]:
    """Has hypothesis draw `stories` and raises what it found, the shortest one; returns how often each step was taken.

    The same seed draws the same stories.
    """
    log = ErrorLog()
    logging.getLogger().addHandler(log)
    try:
        with served(max_sessions=PLACES) as server:
            steps: Counter[str] = Counter()
            machine = type("Order", (Order,), {"server": server, "log": log, "steps": steps})
            chosen = settings(
                max_examples=stories, stateful_step_count=25, deadline=None, database=None,
                phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            run_state_machine_as_test(seeded(seed)(machine), settings=chosen)
            return steps
    finally:
        logging.getLogger().removeHandler(log)


def main() -> int:
    """Runs what the command line asks for; the exit status is the number of findings, at most 100."""
    kind, begin, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if kind not in KINDS:
        raise SystemExit(f"{kind!r} is none of {', '.join(KINDS)}")
    began = time.monotonic()
    if kind == "order":
        steps = run_order(end - begin, begin)  # raises what it finds
        print(f"order: {sum(steps.values())} steps in {time.monotonic() - began:.0f} s, none wrong; {dict(steps)}")
        return 0
    came, findings = asyncio.run(run(kind, begin, end, show=True))
    for finding in findings:
        print(finding)
    print(f"{kind}: {end - begin} cases in {time.monotonic() - began:.0f} s, {len(findings)} findings; {dict(came)}")
    return min(len(findings), 100)


if __name__ == "__main__":
    raise SystemExit(main())
