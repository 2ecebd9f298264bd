"""Tells the RTP timestamp that a picture or sound is sent with; aiortc (1.16) keeps its random origin to itself.

Of a track that is encoded already (`EncodedTrack`) it passes on what the receiver asks the encoder for. aiortc's sender
reports tie the last packet's timestamp to the moment it was sent, encoder and jitter included; where a track knows its
own clock, ours tie the two clocks (RFC 3550, 6.4.1).

`server.rtc.codecs.tune` puts LiveSender in the place of aiortc's sender.
"""

import time
from collections.abc import Callable
from typing import Any

from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTP_HISTORY_SIZE,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    unpack_remb_fci,
)
from aiortc.utils import uint32_add

from server.rtc.encoded_track import EncodedTrack
from server.rtc.path_rate import PathRate
from server.rtc.pictures.codec_timer import CodecTimer, codec_of, untimed
from server.rtc.pictures.encoders import LiveEncoder
from server.rtc.playout_delay import PromptExtensions
from server.rtc.resends import Resends

MAX_EXPECTED = 1 << 16  # packets between two reports
NTP_TO_UNIX_S = 2_208_988_800
MediaClock = Callable[[float], float | None]  # time.monotonic → PTS in seconds of what leaves then


class LiveSender(RTCRtpSender):
    """Sends as aiortc does, and knows where its RTP timestamps begin."""

    def __init__(self, track_or_kind: Any, transport: Any) -> None:
        super().__init__(track_or_kind, transport)
        self._RTCRtpSender__rtp_header_extensions_map = PromptExtensions()
        self._encoded: int | None = None  # timestamp of the frame before, from its track's own zero
        self._origin: int | None = None
        self._clock_rate = 0
        self._path = PathRate()
        self._resends = Resends()
        self._reported: tuple[int, int] | None = None  # by the receiver last: lost in all, highest sequence number
        self.media_s: MediaClock | None = None  # of the track; None: reports are aiortc's
        self.on_coded: CodecTimer = untimed

    def rtp_of(self, timestamp: int) -> int | None:
        """Returns the RTP timestamp (32 bit) of what its track timed `timestamp`; None before anything was sent."""
        return None if self._origin is None else uint32_add(self._origin, timestamp & 0xFFFFFFFF)

    def _send_keyframe(self) -> None:
        super()._send_keyframe()
        if isinstance(self.track, EncodedTrack):
            self.track.request_keyframe()

    async def _retransmit(self, sequence_number: int) -> None:
        kept = self._RTCRtpSender__rtp_history.get(sequence_number % RTP_HISTORY_SIZE)  # type: ignore[attr-defined]
        target = self._target_bps()
        if kept is None or kept.sequence_number != sequence_number or target is None:
            return  # too old, or no video
        if self._resends.admit(sequence_number, len(kept.payload), target, self._path.way_s):
            await super()._retransmit(sequence_number)

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        is_app = isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP
        if not (is_app and self.kind == "video"):  # aiortc would follow any estimate
            await super()._handle_rtcp_packet(packet)
        if self.kind != "video":
            return
        if isinstance(packet, RtcpPsfbPacket) and is_app:
            try:
                bitrate, ssrcs = unpack_remb_fci(packet.fci)
            except ValueError:
                return  # not REMB
            if self._ssrc in ssrcs:
                self._path.remb(bitrate, self._target_bps() or 0)
                self._follow()
        elif isinstance(packet, (RtcpRrPacket, RtcpSrPacket)) and (target := self._target_bps()):
            for report in packet.reports:
                if report.ssrc == self._ssrc:
                    self._note_way(report)
                    self._note_loss(report.packets_lost, report.highest_sequence, target)
                    self._follow()

    def _note_way(self, report: RtcpReceiverInfo) -> None:
        """Takes the time of a packet's way there and back, by a report that names our last one (RFC 3550, 6.4.1)."""
        asked: int | None = self._RTCRtpSender__lsr  # type: ignore[attr-defined]
        asked_s: float = self._RTCRtpSender__lsr_time  # type: ignore[attr-defined]
        if report.dlsr and report.lsr == asked:
            self._path.way(time.time() - asked_s - report.dlsr / 65536)

    def _note_loss(self, lost: int, highest: int, target: int) -> None:
        """Takes a report's two running numbers: how many packets never came, and the newest that did."""
        if self._reported is not None:
            lost_before, highest_before = self._reported
            expected = (highest - highest_before) & 0xFFFFFFFF
            if 0 < expected < MAX_EXPECTED:  # else the report is older than the one before
                self._path.loss(max(0, lost - lost_before), expected, target)
        self._reported = lost, highest

    def _target_bps(self) -> int | None:
        """Returns the bit rate that the encoder whose pictures are sent may use; None before there is one."""
        if isinstance(self.track, EncodedTrack):
            return self.track.target_bps()
        encoder = self._RTCRtpSender__encoder  # type: ignore[attr-defined]
        return encoder.rate.current if isinstance(encoder, LiveEncoder) else None

    def _follow(self) -> None:
        """Hands on what the receiver's network carries."""
        estimate = self._path.estimate
        encoder = self._RTCRtpSender__encoder  # type: ignore[attr-defined]
        if estimate is None:
            return
        if isinstance(self.track, EncodedTrack):
            self.track.estimate(estimate)
        elif isinstance(encoder, LiveEncoder):
            encoder.target_bitrate = estimate

    async def _next_encoded_frame(self, codec: Any) -> Any:
        # aiortc asks for the next frame when every packet of the one before is sent: these two belong together.
        if self._origin is None and self._encoded is not None:
            sent: int = self._RTCRtpSender__rtp_timestamp  # type: ignore[attr-defined]
            self._origin = uint32_add(sent, -self._encoded)
        self._clock_rate = codec.clockRate
        encoded = await super()._next_encoded_frame(codec)
        if encoded is not None and encoded.payloads:
            self._encoded = encoded.timestamp
            self._path.sent(sum(len(payload) for payload in encoded.payloads))
            encoder = self._RTCRtpSender__encoder  # type: ignore[attr-defined]
            if isinstance(encoder, LiveEncoder) and not isinstance(self.track, EncodedTrack):
                self.on_coded("encode", codec_of(codec.mimeType), encoder.took_s)
        return encoded

    async def _send_rtcp(self, packets: Any) -> None:
        for packet in packets:
            if isinstance(packet, RtcpSrPacket) and packet.sender_info.ntp_timestamp:
                self._tie_clocks(packet.sender_info)
        await super()._send_rtcp(packets)

    def _tie_clocks(self, report: RtcpSenderInfo) -> None:
        """Sets the RTP timestamp that belongs to the report's NTP time (of the last packet; the receiver echoes it)."""
        unix_s = report.ntp_timestamp / 2**32 - NTP_TO_UNIX_S
        now_s = time.monotonic() - (time.time() - unix_s)
        media_s = None if self.media_s is None else self.media_s(now_s)
        if media_s is not None and (rtp := self.rtp_of(round(media_s * self._clock_rate))) is not None:
            report.rtp_timestamp = rtp
