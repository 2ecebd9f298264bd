"""Tells the RTP timestamp that a picture or sound is sent with; aiortc (1.16) keeps its random origin to itself.

Of a track that is encoded already (`EncodedTrack`) it passes on what the receiver asks the encoder for.
`server.rtc.codecs.tune` puts LiveSender in the place of aiortc's sender.
"""

from typing import Any

from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import RTCP_PSFB_APP, AnyRtcpPacket, RtcpPsfbPacket, unpack_remb_fci
from aiortc.utils import uint32_add

from server.rtc.encoded_track import EncodedTrack


class LiveSender(RTCRtpSender):
    """Sends as aiortc does, and knows where its RTP timestamps begin."""

    def __init__(self, track_or_kind: Any, transport: Any) -> None:
        super().__init__(track_or_kind, transport)
        self._encoded: int | None = None  # timestamp of the frame before, from its track's own zero
        self._origin: int | None = None

    def rtp_of(self, timestamp: int) -> int | None:
        """Returns the RTP timestamp (32 bit) of what its track timed `timestamp`; None before anything was sent."""
        return None if self._origin is None else uint32_add(self._origin, timestamp & 0xFFFFFFFF)

    def _send_keyframe(self) -> None:
        super()._send_keyframe()
        if isinstance(self.track, EncodedTrack):
            self.track.request_keyframe()

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        await super()._handle_rtcp_packet(packet)
        if isinstance(self.track, EncodedTrack) and isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            try:
                bitrate, ssrcs = unpack_remb_fci(packet.fci)
            except ValueError:
                return  # not REMB
            if self._ssrc in ssrcs:
                self.track.estimate(bitrate)

    async def _next_encoded_frame(self, codec: Any) -> Any:
        # aiortc asks for the next frame when every packet of the one before is sent: these two belong together.
        if self._origin is None and self._encoded is not None:
            sent: int = self._RTCRtpSender__rtp_timestamp  # type: ignore[attr-defined]
            self._origin = uint32_add(sent, -self._encoded)
        encoded = await super()._next_encoded_frame(codec)
        if encoded is not None and encoded.payloads:
            self._encoded = encoded.timestamp
        return encoded
