"""aioice's connection, for STUN and TURN servers that do not answer, and for a peer that answers no checks.

aioice waits 5 s for its servers, and all of our candidates stand in the answer: one dead server would delay each
connection by as much. Here they get GATHER_S, and one that did not answer is left out for SILENT_S.

Media take the short way in and out: one call a packet, where aioice tries it as STUN, queues it and wakes a task.

FFmpeg's WHIP muxer sends media and answers no checks once it is connected.
RFC 7675 takes answers to checks as the peer's consent to what we send; aioice (0.13) ends a connection without them
after half a minute. To such a peer we send a report a second and no media, and what it sends shows that it is there.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any, ClassVar

import aioice.ice
from aioice import Candidate, stun
from aioice.ice import Connection, StunProtocol

logger = logging.getLogger(__name__)

GATHER_S = 1.0  # TURN over TLS takes five round trips to be ours
SILENT_S = 30.0
LAST_STUN, FIRST_RTP, LAST_RTP = 3, 128, 191  # first byte of a datagram (RFC 7983, section 7)
FIRST_RTCP, LAST_RTCP = 192, 208  # second byte (RFC 5761, section 4); as aiortc's `is_rtcp`


class LiveStunProtocol(StunProtocol):
    """aioice's protocol, which tries every datagram as STUN; the first byte tells (RFC 7983)."""

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        if data and data[0] > LAST_STUN:  # type: ignore[operator]  # bytes
            self.receiver.data_received(data, self.local_candidate.component)  # type: ignore[arg-type]
        else:
            super().datagram_received(data, addr)


class Datagrams(asyncio.Queue[tuple[bytes, int] | None]):
    """What aioice's connection has received. After `hand_over` RTP goes on at once; the rest is queued."""

    _take: Callable[[bytes], None] | None = None

    def hand_over(self, take: Callable[[bytes], None]) -> None:
        """Gives `take` all RTP from now on, beginning with what waits: no packet overtakes those before it."""
        self._take = take
        for item in [self.get_nowait() for _ in range(self.qsize())]:
            self.put_nowait(item)

    def put_nowait(self, item: tuple[bytes, int] | None) -> None:
        if self._take is not None and item is not None and _is_rtp(item[0]):
            self._take(item[0])
        else:
            super().put_nowait(item)


def _is_rtp(data: bytes) -> bool:
    return len(data) > 1 and FIRST_RTP <= data[0] <= LAST_RTP and not FIRST_RTCP <= data[1] <= LAST_RTCP


class LiveIceConnection(Connection):
    """aioice's connection; `answers_checks` set to False takes what arrives for consent."""

    answers_checks = True
    silent_until_s: ClassVar[dict[tuple[str, int], float]] = {}  # servers that did not answer: left out until then
    _heard_s = float("-inf")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._queue: Datagrams = Datagrams()

    async def send(self, data: bytes) -> None:
        pair = self._nominated.get(1)
        if pair is None:
            raise ConnectionError("Cannot send data, not connected")
        pair.protocol.transport.sendto(data, pair.remote_addr)

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        if not addresses:  # relay only: there is nothing else to answer with
            return await super().get_component_candidates(component, addresses, timeout)
        turn, stun = self.turn_server, self.stun_server
        self.turn_server, self.stun_server = (server if self._answers(server) else None for server in (turn, stun))
        asked_s = time.monotonic()
        try:
            candidates = await super().get_component_candidates(component, addresses, GATHER_S)  # type: ignore[arg-type]
            if time.monotonic() - asked_s >= GATHER_S:
                self._leave_out(self.turn_server, "relay", candidates)
                self._leave_out(self.stun_server, "srflx", candidates)
        finally:
            self.turn_server, self.stun_server = turn, stun
        return candidates

    def _answers(self, server: tuple[str, int] | None) -> bool:
        return server is not None and self.silent_until_s.get(server, float("-inf")) < time.monotonic()

    def _leave_out(self, server: tuple[str, int] | None, kind: str, candidates: list[Candidate]) -> None:
        if server is not None and all(candidate.type != kind for candidate in candidates):
            self.silent_until_s[server] = time.monotonic() + SILENT_S
            logger.warning("%s:%d (STUN or TURN) did not answer within %g s", *server, GATHER_S)

    def data_received(self, data: bytes, component: int) -> None:
        self._heard_s = time.monotonic()
        super().data_received(data, component)

    async def query_consent(self) -> None:
        if self.answers_checks:
            await super().query_consent()
            return
        failures = 0
        while failures < aioice.ice.CONSENT_FAILURES:
            asked_s = time.monotonic()
            await asyncio.sleep(aioice.ice.CONSENT_INTERVAL * random.uniform(0.8, 1.2))
            failures = 0 if self._heard_s > asked_s or await self._consents() else failures + 1
        self._query_consent_task = None
        await self.close()

    async def _consents(self) -> bool:
        """Asks the peer once; returns True where it answers."""
        assert self.remote_password is not None  # consent is asked for once connected
        for pair in list(self._nominated.values()):
            request = self.build_request(pair, nominate=False)
            try:
                await pair.protocol.request(
                    request, pair.remote_addr, integrity_key=self.remote_password.encode(), retransmissions=0
                )
            except stun.TransactionError:
                return False
        return True
