"""server.rtc.transport: what arrives is handled in the call that received it; what has to wait is a task."""

import asyncio
from typing import Any

import pytest
from aioice import stun

from server.rtc.transport import eager
from server.rtc.transport.ice import Datagrams, LiveIceConnection, LiveStunProtocol

RTP, RTCP, DTLS = b"\x80\x60" + bytes(20), b"\x80\xc8" + bytes(20), b"\x16\xfe\xfd" + bytes(20)
ADDRESS = ("192.0.2.1", 5000)


def test_a_coroutine_that_does_not_wait_is_over_at_once() -> None:
    """It needs no event loop, and what it raises is raised."""
    done: list[int] = []

    async def inner() -> int:
        return 3

    async def work() -> None:
        done.append(await inner())

    async def fail() -> None:
        raise KeyError("x")

    assert eager.begin(work()) is None
    assert done == [3]
    with pytest.raises(KeyError):
        eager.begin(fail())


async def test_one_that_waits_goes_on_as_a_task() -> None:
    """Results, errors and the end of what it waits for reach it, again and again."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    steps: list[Any] = []

    async def work() -> None:
        steps.append("begun")
        steps.append(await future)
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            steps.append("late")

    task = eager.begin(work())
    assert task is not None
    assert steps == ["begun"]
    future.set_result(7)
    await task
    assert steps == ["begun", 7, "late"]


async def test_one_that_waits_can_be_cancelled() -> None:
    """As any task."""
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    task = eager.begin(work())
    assert task is not None
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


def test_rtp_is_taken_and_the_rest_waits() -> None:
    """RTCP and DTLS are queued, and so is everything until somebody takes RTP."""
    datagrams, taken = Datagrams(), []
    datagrams.put_nowait((RTP, 1))
    assert datagrams.get_nowait() == (RTP, 1)
    datagrams.hand_over(taken.append)
    for data in (RTP, RTCP, DTLS):
        datagrams.put_nowait((data, 1))
    datagrams.put_nowait(None)
    assert taken == [RTP]
    assert [datagrams.get_nowait() for _ in range(3)] == [(RTCP, 1), (DTLS, 1), None]


def test_no_packet_overtakes_those_that_wait() -> None:
    """Packets that came during the handshake are the begin of the first key frame: they go first, in their order."""
    datagrams, taken = Datagrams(), []
    early = [RTP + bytes([number]) for number in range(3)]
    for data in (early[0], DTLS, *early[1:], RTCP):
        datagrams.put_nowait((data, 1))
    datagrams.hand_over(taken.append)
    datagrams.put_nowait((RTP, 1))
    assert taken == [*early, RTP]
    assert [datagrams.get_nowait()[0] for _ in range(datagrams.qsize())] == [DTLS, RTCP]


class Receiver(LiveIceConnection):
    """Notes what a protocol hands on."""

    def __init__(self) -> None:
        super().__init__(False)
        self.data: list[bytes] = []
        self.requests: list[stun.Message] = []

    def data_received(self, data: bytes, component: int) -> None:
        self.data.append(data)

    def request_received(self, message: stun.Message, addr: Any, protocol: Any, raw_data: bytes = b"") -> None:
        self.requests.append(message)


async def test_the_first_byte_tells_stun_from_media() -> None:
    """A STUN request is answered as one; what only begins like one is handed on, as aioice does."""
    receiver = Receiver()
    protocol = LiveStunProtocol(receiver)
    protocol.local_candidate = type("Candidate", (), {"component": 1})()
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    for data in (RTP, bytes(request), DTLS, b"\x00\x01rubbish", b""):
        protocol.datagram_received(data, ADDRESS)
    assert [message.transaction_id for message in receiver.requests] == [request.transaction_id]
    assert receiver.data == [RTP, DTLS, b"\x00\x01rubbish", b""]


async def test_what_is_sent_without_a_pair_is_an_error() -> None:
    """As aioice's own: whoever sends learns that there is no way."""
    with pytest.raises(ConnectionError):
        await LiveIceConnection(False).send(RTP)
