"""aiortc's RTCPeerConnection, whose setup runs in a task that nobody waits for, and whose failures nobody hears of.

Three things go wrong in aiortc 1.16. A connection of several transports that is closed while the first one still checks
goes on to start the second, which is closed. A second setup waits for the first one's checks, for ever where those were
broken off. And a section that never got a transport stops `close` half-way: the rest stays open, and whoever closes
again waits for ever.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from aiortc import RTCConfiguration, RTCIceCandidate, RTCIceServer, RTCPeerConnection
from aiortc.rtcicetransport import RTCIceParameters, RTCIceTransport
from aiortc.sdp import candidate_to_sdp

from server.errors import Conflict, UnusableOffer
from server.ice_servers import ice_servers
from server.rtc.transport.ice_restart import IceRestart
from server.settings import Settings

ANEW = "connect anew"

logger = logging.getLogger(__name__)


def configuration(settings: Settings) -> RTCConfiguration:
    """Returns the STUN and TURN servers for our own side, as of now: passwords expire."""
    servers = [RTCIceServer(**server) for server in ice_servers(settings, "server")]  # type: ignore[arg-type]
    # An explicit list, empty too: aiortc's default asks a public STUN server.
    return RTCConfiguration(iceServers=servers)


def _check_connected(transport: RTCIceTransport) -> None:
    if transport.state != "completed":
        raise Conflict(f"ICE cannot be restarted while it is {transport.state}", f"wait for it, or {ANEW}")


class LivePeerConnection(RTCPeerConnection):
    """Ends itself where it cannot be set up, so that `connectionstatechange` tells; closes whatever state it is in."""

    _restart: IceRestart | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._setups: set[asyncio.Task[None]] = set()

    async def restart_ice(
        self, remote: RTCIceParameters, candidates: Iterable[RTCIceCandidate], servers: RTCConfiguration
    ) -> str:
        """Begins to move the media to other addresses; returns our side as a fragment of SDP (RFC 8840, section 9).

        Until the other side has moved, and where it never does, they go on as they are. Raises Conflict before the
        first connection came about, UnusableOffer where sections have transports of their own.
        """
        transports = {each.receiver.transport.transport for each in self.getTransceivers()}
        if len(transports) != 1:
            raise UnusableOffer("ICE cannot be restarted: the sections are not bundled", ANEW)
        transport = transports.pop()
        _check_connected(transport)
        restart = IceRestart(transport, servers)
        try:
            await restart.gather()
            _check_connected(transport)
        except BaseException:
            await restart.close()
            raise
        before, self._restart = self._restart, restart
        if before is not None:
            await before.close()
        restart.begin(remote)
        for candidate in candidates:
            await restart.add_candidate(candidate)
        return self._fragment(restart)

    async def addIceCandidate(self, candidate: RTCIceCandidate | None) -> None:
        """Adds a candidate of the other side, to the newest ICE session."""
        if candidate is not None and self._restart is not None and not self._restart.over:
            await self._restart.add_candidate(candidate)
        else:
            await super().addIceCandidate(candidate)

    def _fragment(self, restart: IceRestart) -> str:
        local = restart.gatherer.getLocalParameters()
        first = min(self.getTransceivers(), key=lambda each: each._get_mline_index() or 0)
        lines = [
            f"m={first.kind} 9 UDP/TLS/RTP/SAVPF 0",
            f"a=mid:{first.mid}",
            f"a=ice-ufrag:{local.usernameFragment}",
            f"a=ice-pwd:{local.password}",
            *(f"a=candidate:{candidate_to_sdp(each)}" for each in restart.gatherer.getLocalCandidates()),
            "a=end-of-candidates",
        ]
        return "".join(f"{line}\r\n" for line in lines)

    # aiortc's own calls of `self.__connect` arrive here.
    async def _RTCPeerConnection__connect(self) -> None:
        setup = asyncio.current_task()
        assert setup is not None
        self._setups.add(setup)
        setup.add_done_callback(self._setups.discard)
        try:
            await super()._RTCPeerConnection__connect()  # type: ignore[misc]
        except Exception as error:  # nobody awaits this task: what it raises is lost
            if self.signalingState != "closed":
                logger.info("the connection could not be set up: %r", error)
                await self.close()

    async def close(self) -> None:
        """Frees every transport. Again: waits for the same end."""
        if self._restart is not None:
            await self._restart.close()
        try:
            await super().close()
        except AttributeError as error:
            logger.info("the connection was never complete: %r", error)
            for transceiver in self.getTransceivers():
                if (transport := transceiver.receiver.transport) is not None:
                    await transport.stop()
                    await transport.transport.stop()
            self._RTCPeerConnection__updateConnectionState()  # type: ignore[attr-defined]
            self.remove_all_listeners()
            self._RTCPeerConnection__isClosed.set_result(True)  # type: ignore[attr-defined]
        finally:
            for setup in self._setups - {asyncio.current_task()}:
                setup.cancel()
