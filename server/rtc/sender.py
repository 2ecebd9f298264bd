"""Tells the RTP timestamp that a picture or sound is sent with; aiortc (1.16) keeps its random origin to itself.

`server.rtc.codecs.tune` puts LiveSender in the place of aiortc's sender.
"""

from typing import Any

from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.utils import uint32_add


class LiveSender(RTCRtpSender):
    """Sends as aiortc does, and knows where its RTP timestamps begin."""

    def __init__(self, track_or_kind: Any, transport: Any) -> None:
        super().__init__(track_or_kind, transport)
        self._encoded: int | None = None  # timestamp of the frame before, from its track's own zero
        self._origin: int | None = None

    def rtp_of(self, timestamp: int) -> int | None:
        """Returns the RTP timestamp (32 bit) of what its track timed `timestamp`; None before anything was sent."""
        return None if self._origin is None else uint32_add(self._origin, timestamp & 0xFFFFFFFF)

    async def _next_encoded_frame(self, codec: Any) -> Any:
        # aiortc asks for the next frame when every packet of the one before is sent: these two belong together.
        if self._origin is None and self._encoded is not None:
            sent: int = self._RTCRtpSender__rtp_timestamp  # type: ignore[attr-defined]
            self._origin = uint32_add(sent, -self._encoded)
        encoded = await super()._next_encoded_frame(codec)
        if encoded is not None and encoded.payloads:
            self._encoded = encoded.timestamp
        return encoded
