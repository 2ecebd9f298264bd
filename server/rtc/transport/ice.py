"""aioice's connection, for STUN and TURN servers that do not answer, and for a peer that answers no checks.

aioice waits 5 s for its servers, and all of our candidates stand in the answer: one dead server would delay each
connection by as much. Here they get GATHER_S, and one that did not answer is left out for SILENT_S.

FFmpeg's WHIP muxer sends media and answers no checks once it is connected.
RFC 7675 takes answers to checks as the peer's consent to what we send; aioice (0.13) ends a connection without them
after half a minute. To such a peer we send a report a second and no media, and what it sends shows that it is there.
"""

import asyncio
import logging
import random
import time
from typing import ClassVar

import aioice.ice
from aioice import Candidate, stun
from aioice.ice import Connection

logger = logging.getLogger(__name__)

GATHER_S = 1.0  # TURN over TLS takes five round trips to be ours
SILENT_S = 30.0


class LiveIceConnection(Connection):
    """aioice's connection; `answers_checks` set to False takes what arrives for consent."""

    answers_checks = True
    silent_until_s: ClassVar[dict[tuple[str, int], float]] = {}  # servers that did not answer: left out until then
    _heard_s = float("-inf")

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
