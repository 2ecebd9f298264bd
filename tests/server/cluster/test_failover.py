"""Participants go on in another worker when theirs dies, hangs, or is drained."""

import asyncio
import os
import signal

import cv2
import httpx
import pytest

from engine.bench.sample_clip import load_portrait
from tests.server.client import Participant
from tests.server.cluster.fronted import Fronted, connected, fronted


async def prepared(running: Fronted, tab: Participant, session: str) -> None:
    """Chooses a light, a strength, a mirror and a portrait in a session."""
    assert (await tab.ask(type="set_light", preset="split-left", adjust={"intensity": 1.5}))["type"] == "ack"
    assert (await tab.ask(type="set_strength", value=0.25))["type"] == "ack"
    assert (await tab.ask(type="mirror", on=True))["type"] == "ack"
    png = cv2.imencode(".png", load_portrait()[..., ::-1])[1].tobytes()
    async with httpx.AsyncClient(base_url=running.http, timeout=60) as http:
        files = {"file": ("me.png", png, "image/png")}
        answer = await http.post("/api/portrait", data={"session": session}, files=files)
        assert answer.status_code == 200, answer.text
    await running.until(lambda: (running.front.directory.get(session).state or {}).get("portrait") is not None)


async def resumed(running: Fronted, tab: Participant, lost: str) -> dict:
    """Comes back on a new socket as the session `lost`; returns the answer."""
    await tab.wait(type="welcome")
    return await tab.ask(type="resume", session=lost)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
async def test_a_worker_that_is_lost_loses_no_choices(blow: signal.Signals) -> None:
    """After kill -9 or a hang the other worker has light, strength, mirror and portrait, and sends pictures."""
    async with fronted() as running:
        async with connected(running) as (tab, session):
            await prepared(running, tab, session)
            first = running.worker_of(session)
            before = running.front.directory.get(session).state
            os.kill(int(first.launched.place), blow)
            closed = await tab.wait(type="closed")
            assert closed["code"] == 1012, closed
        async with Participant(running.ws) as tab:
            ack = await resumed(running, tab, session)
            assert ack["avatar"] is True
            assert ack["lighting"]["directionals"], ack
            welcome = await tab.wait(type="welcome")
            assert running.worker_of(welcome["session"]) is not first
            assert (await tab.offer())["type"] == "answer"
            await tab.pictures(3)
            after = running.front.directory.get(welcome["session"]).state
            assert {**after, "engine": before["engine"]} == before
        await running.ready(2)  # another took its place
        assert running.front.pool.died == 1


async def test_a_successor_takes_over_what_was_measured() -> None:
    """To measure a picture's cost again would keep the cores of those who are there busy, and be wrong."""
    async with fronted(1, max_sessions="auto") as running:
        (first,) = running.front.pool
        assert first.status.cost is not None
        await running.front.pool.drain(first.number)
        (successor,) = running.front.pool
        assert successor is not first
        assert successor.status.cost == first.status.cost


async def test_drain_moves_participants_before_their_worker_ends() -> None:
    """A drained worker goes on until the participant, told to move, has pictures from the other one."""
    async with fronted() as running, connected(running) as (tab, session):
        await prepared(running, tab, session)
        first = running.worker_of(session)
        draining = asyncio.create_task(running.front.pool.drain(first.number, replace=False))
        await tab.wait(type="notice", code="moving")
        async with Participant(running.ws) as moved:
            ack = await resumed(running, moved, session)
            assert ack["avatar"] is True
            assert (await moved.offer())["type"] == "answer"
            await moved.pictures(3)
            assert await tab.pictures(1), "the old picture stopped before the new one was there"
            assert not draining.done()
            await tab.leave()
            await draining
            assert first.gone.is_set()
            assert len(running.front.pool) == 1
            await moved.pictures(2)


async def test_a_drained_worker_gets_a_successor_first_and_ends_in_time() -> None:
    """Who does not move is told to come back when the time is over; nobody is placed on a worker that is drained."""
    async with fronted(workers=1, drain_s=0.5) as running, connected(running) as (tab, session):
        first = running.worker_of(session)
        twice = [asyncio.create_task(running.front.pool.drain(first.number)) for _ in range(2)]
        await running.until(lambda: len(running.front.pool) == 2)
        assert first.available, "nobody is turned away while the successor warms up"
        await asyncio.gather(*twice)
        assert len(running.front.pool) == 1
        closed = await tab.wait(type="closed")
        assert closed["code"] == 1012
        async with connected(running) as (_, other):
            assert running.worker_of(other) is not first


async def test_a_resume_that_is_refused_ends_nobody() -> None:
    """On a socket that has a connection of its own the message is refused, and the other session goes on."""
    async with fronted() as running, connected(running) as (tab, session), connected(running) as (other, _):
        assert running.worker_of(session) is not running.worker_of((await other.wait(type="welcome"))["session"])
        assert (await other.ask(type="resume", session=session))["code"] == "bad_message"
        await tab.pictures(3)
        assert running.front.directory.get(session) is not None


async def test_the_only_worker_is_not_retired() -> None:
    """Draining without a successor is refused where nobody would be left, and the worker goes on."""
    async with fronted(workers=1) as running:
        (worker,) = running.front.pool
        async with httpx.AsyncClient(base_url=running.http) as http:
            answer = await http.post(f"/api/workers/{worker.number}/drain", params={"replace": False})
            assert answer.status_code == 404
            assert answer.json()["code"] == "no_worker"
            assert (await http.post("/api/workers/99/drain")).json()["message"] == "worker=99 does not exist"
        assert worker.available
