"""aiortc's RTCPeerConnection, whose setup runs in a task that nobody waits for, and whose failures nobody hears of.

Two things go wrong in aiortc 1.16. A connection of several transports that is closed while the first one still checks
goes on to start the second, which is closed. And a section that never got a transport stops `close` half-way: the rest
stays open, and whoever closes again waits for ever.
"""

import logging

from aiortc import RTCPeerConnection

logger = logging.getLogger(__name__)


class LivePeerConnection(RTCPeerConnection):
    """Ends itself where it cannot be set up, so that `connectionstatechange` tells; closes whatever state it is in."""

    # aiortc's own calls of `self.__connect` arrive here.
    async def _RTCPeerConnection__connect(self) -> None:
        try:
            await super()._RTCPeerConnection__connect()  # type: ignore[misc]
        except Exception as error:  # nobody awaits this task: what it raises is lost
            if self.signalingState != "closed":
                logger.info("the connection could not be set up: %r", error)
                await self.close()

    async def close(self) -> None:
        """Frees every transport. Again: waits for the same end."""
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
