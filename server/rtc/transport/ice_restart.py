"""ICE restarts below a DTLS transport that goes on: other addresses and passwords, the same keys (RFC 8445, section 9).

aiortc (1.16) gives a transport one aioice connection, and never another. Here a second one is gathered and checked
while the first carries the media. Once the second is connected it takes the first one's place; where it does not in
time, nothing has changed.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from aiortc import RTCConfiguration
from aiortc.rtcicetransport import (
    RTCIceCandidate,
    RTCIceGatherer,
    RTCIceParameters,
    RTCIceTransport,
    candidate_to_aioice,
)

from server.rtc.transport.ice import LiveIceConnection

logger = logging.getLogger(__name__)

CHECK_LIMIT_S = 30.0  # as long as a connection lives without consent


class IceRestart:
    """One restart of one transport: `gather`, `begin`, then candidates as they come; `close` where it is not wanted."""

    def __init__(self, transport: RTCIceTransport, configuration: RTCConfiguration) -> None:
        """Takes a connected transport; the new connection asks the servers of `configuration`."""
        self._transport: Any = transport  # whose privates are replaced
        self._gatherer = RTCIceGatherer(configuration.iceServers or [], configuration.iceTransportPolicy)
        self._new: Any = self._gatherer._connection
        old: Any = transport._connection
        self._new.ice_controlling = old.ice_controlling  # a restart keeps the roles
        if isinstance(old, LiveIceConnection) and isinstance(self._new, LiveIceConnection):
            self._new.answers_checks = old.answers_checks
        self._checking: asyncio.Task[None] | None = None

    @property
    def gatherer(self) -> RTCIceGatherer:
        """Our side's name, password and candidates, once gathered."""
        return self._gatherer

    @property
    def over(self) -> bool:
        """True once the new connection has taken its place, or was given up."""
        return self._checking is not None and self._checking.done()

    async def gather(self) -> None:
        """Gathers our candidates."""
        await self._gatherer.gather()

    def begin(self, remote: RTCIceParameters) -> None:
        """Checks the new connection from now on. Media are taken from both: the other side moves when it likes."""
        self._new.remote_username, self._new.remote_password = remote.usernameFragment, remote.password
        self._new.remote_is_lite = remote.iceLite
        self._new._queue = self._transport._connection._queue
        self._checking = asyncio.ensure_future(self._check())

    async def add_candidate(self, candidate: RTCIceCandidate) -> None:
        """Adds a candidate of the other side."""
        await self._new.add_remote_candidate(candidate_to_aioice(candidate))

    async def close(self) -> None:
        """Gives the restart up, unless it is over. The transport goes on as it was."""
        if self._checking is None:
            await self._discard(self._new)
        elif not self._checking.done():
            self._checking.cancel()
            with suppress(asyncio.CancelledError):
                await self._checking

    async def _check(self) -> None:
        try:
            async with asyncio.timeout(CHECK_LIMIT_S):
                await self._new.connect()
        except (ConnectionError, TimeoutError) as error:
            logger.info("an ICE restart failed, the connection goes on as it was: %r", error)
            await self._discard(self._new)
        except asyncio.CancelledError:
            await self._discard(self._new)
            raise
        else:
            await self._replace()
            logger.info("ICE was restarted")

    async def _replace(self) -> None:
        transport, old, new = self._transport, self._transport._connection, self._new
        if transport.state != "completed":  # it ended meanwhile
            await self._discard(new)
            return
        # It watches the old connection's end, which is not the transport's.
        transport._RTCIceTransport__monitor_task.cancel()
        transport._connection, transport._recv, transport._send = new, new.recv, new.send
        transport._RTCIceTransport__iceGatherer = self._gatherer
        transport._RTCIceTransport__monitor_task = asyncio.ensure_future(transport._monitor())
        await self._discard(old)

    async def _discard(self, connection: Any) -> None:
        """Closes a connection. Whoever reads from its queue reads on: from the other connection."""
        connection._queue = asyncio.Queue()
        await connection.close()
