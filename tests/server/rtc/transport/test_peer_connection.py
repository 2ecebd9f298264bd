"""server.rtc.transport.peer_connection: no failure after the answer is lost, and everything can be closed."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from aiortc import RTCConfiguration, RTCSessionDescription
from aiortc.rtcicetransport import RTCIceTransport

from server.rtc.transport.peer_connection import LivePeerConnection
from tests.server.fuzz.odd_offers import CANDIDATE, CHROME

# Two sections with a transport each, and a candidate behind which nobody answers.
APART = CHROME.replace("a=group:BUNDLE 0 1\n", "").replace("c=IN IP4 0.0.0.0\n", "c=IN IP4 0.0.0.0\n" + CANDIDATE)


@pytest.fixture
async def lost() -> AsyncIterator[list[str]]:
    """Exceptions that a task of this loop had and nobody took."""
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: told.append(repr(context.get("exception"))))
    yield told
    loop.set_exception_handler(None)


async def answered(sdp: str) -> LivePeerConnection:
    """A connection that answered `sdp`."""
    connection = LivePeerConnection(RTCConfiguration(iceServers=[]))
    await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    return connection


async def test_a_connection_may_be_closed_while_it_is_set_up(lost: list[str]) -> None:
    """The first of two transports still checks; the second is not started any more."""
    connection = await answered(APART)
    await asyncio.sleep(0.05)
    assert connection.iceConnectionState == "checking"
    await connection.close()
    await asyncio.sleep(0.05)
    gc.collect()
    assert lost == []
    assert connection.connectionState == "closed"


async def test_a_connection_that_cannot_be_set_up_says_so(lost: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at once: who waits for its state need not wait for the media that never come."""

    async def fail(self: RTCIceTransport, parameters: object) -> None:
        raise RuntimeError("no such network")

    monkeypatch.setattr(RTCIceTransport, "start", fail)
    connection = LivePeerConnection(RTCConfiguration(iceServers=[]))
    states: list[str] = []
    connection.on("connectionstatechange", lambda: states.append(connection.connectionState))
    await connection.setRemoteDescription(RTCSessionDescription(CHROME + CANDIDATE, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    await asyncio.sleep(0.05)
    gc.collect()
    assert lost == []
    assert states[-1:] == ["closed"]


async def test_no_setup_outlives_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiortc begins one with each description; one that waits for the other's checks would wait for ever."""
    begun: list[asyncio.Task[None] | None] = []

    async def wait(self: RTCIceTransport, parameters: object) -> None:
        begun.append(asyncio.current_task())
        await asyncio.Event().wait()

    monkeypatch.setattr(RTCIceTransport, "start", wait)
    connection = await answered(CHROME + CANDIDATE)
    await asyncio.sleep(0.05)
    assert begun
    await connection.close()
    await asyncio.sleep(0)
    assert all(task is not None and task.done() for task in begun)


async def test_a_section_without_transport_does_not_keep_the_others_open() -> None:
    """aiortc's own close stops at it, and a second one waits for ever; this one ends everything, twice."""
    connection = await answered(APART)
    first, second = connection.getTransceivers()
    kept = second.receiver.transport
    second.receiver.setTransport(None)  # type: ignore[arg-type]  # as it was after a BUNDLE group of absent sections
    await asyncio.wait_for(connection.close(), 5)
    await asyncio.wait_for(connection.close(), 5)
    assert first.receiver.transport.transport.state == "closed"
    assert connection.connectionState == "closed"
    await kept.stop()
    await kept.transport.stop()
