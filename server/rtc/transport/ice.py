"""aioice's connection, for a peer that sends media and answers no checks once it is connected: FFmpeg's WHIP muxer.

RFC 7675 takes answers to checks as the peer's consent to what we send; aioice (0.13) ends a connection without them
after half a minute. To such a peer we send a report a second and no media, and what it sends shows that it is there.
"""

import asyncio
import random
import time

import aioice.ice
from aioice import stun
from aioice.ice import Connection


class LiveIceConnection(Connection):
    """aioice's connection; `answers_checks` set to False takes what arrives for consent."""

    answers_checks = True
    _heard_s = float("-inf")

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
