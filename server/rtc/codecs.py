"""Tunes aiortc (1.16): `tune` puts our encoders, decoders, receivers and senders in place, once.

`check` raises if this aiortc lacks what they replace.
"""

import logging
from typing import Any

import aioice.ice
import aiortc.clock
import aiortc.codecs
import aiortc.rate
import aiortc.rtcdtlstransport
import aiortc.rtcicetransport
import aiortc.rtcpeerconnection
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
from aioice.ice import Connection, StunProtocol
from aiortc.codecs.base import Decoder, Encoder
from aiortc.codecs.h264 import H264Decoder, H264Encoder
from aiortc.codecs.opus import OpusEncoder
from aiortc.codecs.vpx import Vp8Decoder, Vp8Encoder
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import HeaderExtensionsMap, RtpPacket

from server.rtc.decoders import LiveAudioDecoder, LiveH264Decoder, LiveVp8Decoder, decoder_worker
from server.rtc.jitter import LiveReceiver, PromptJitterBuffer
from server.rtc.pictures.encoders import LiveH264Encoder, LiveVp8Encoder
from server.rtc.playout_delay import offer_extension
from server.rtc.sender import LiveSender
from server.rtc.transport import rtp
from server.rtc.transport.dtls import LiveDtlsTransport
from server.rtc.transport.ice import LiveIceConnection, LiveStunProtocol
from server.rtc.transport.srtp import LiveSession

logger = logging.getLogger(__name__)


class AiortcChanged(RuntimeError):
    """This aiortc lacks something `tune` replaces."""


_default_encoder = aiortc.codecs.get_encoder
_default_decoder = aiortc.codecs.get_decoder


def get_encoder(codec: RTCRtpCodecParameters) -> Encoder:
    """Returns a live encoder for video, aiortc's for audio."""
    kind = codec.mimeType.lower()
    if kind == "video/vp8":
        return LiveVp8Encoder()
    if kind == "video/h264":
        return LiveH264Encoder()
    return _default_encoder(codec)


def get_decoder(codec: RTCRtpCodecParameters) -> Decoder:
    """Returns a live decoder for video, aiortc's for audio, which takes all that comes together."""
    kind = codec.mimeType.lower()
    if kind == "video/vp8":
        return LiveVp8Decoder()
    if kind == "video/h264":
        return LiveH264Decoder()
    return LiveAudioDecoder(_default_decoder(codec))


# (module, name) that `tune` replaces, and by what.
_REPLACED: tuple[tuple[Any, str, Any], ...] = (
    (aiortc.rtcrtpsender, "get_encoder", get_encoder),
    (aiortc.rtcrtpreceiver, "get_decoder", get_decoder),
    (aiortc.rtcrtpreceiver, "decoder_worker", decoder_worker),
    (aiortc.rtcrtpreceiver, "JitterBuffer", PromptJitterBuffer),
    (aiortc.rtcpeerconnection, "RTCRtpReceiver", LiveReceiver),
    (aiortc.rtcpeerconnection, "RTCRtpSender", LiveSender),
    (aiortc.rtcpeerconnection, "RTCDtlsTransport", LiveDtlsTransport),
    (aiortc.rtcdtlstransport, "Session", LiveSession),
    (aiortc.rtcdtlstransport, "RtpPacket", rtp.LivePacket),
    (aiortc.rtcrtpsender, "RtpPacket", rtp.LivePacket),
    (aiortc.rtcrtpreceiver, "depayload", rtp.data_of),
    (aiortc.rate, "RateCounter", rtp.RateCounter),
    (aiortc.clock, "current_ms", rtp.current_ms),
    (aiortc.clock, "current_ntp_time", rtp.current_ntp_time),
    (aiortc.rtcicetransport, "Connection", LiveIceConnection),
    (aioice.ice, "StunProtocol", LiveStunProtocol),
)
_NEEDED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (JitterBuffer, ("add", "remove", "smart_remove", "_remove_frame", "capacity")),
    (Vp8Encoder, ("encode", "pack", "_packetize", "target_bitrate")),
    (H264Encoder, ("encode", "pack", "_packetize", "_split_bitstream", "target_bitrate")),
    (Vp8Decoder, ("decode",)),
    (H264Decoder, ("decode",)),
    (RTCRtpSender, ("_next_encoded_frame", "_send_keyframe", "_handle_rtcp_packet", "_send_rtcp", "_retransmit")),
    (RTCRtpReceiver, ("receive", "_handle_rtcp_packet", "_handle_rtp_packet", "_send_rtcp_pli")),
    (OpusEncoder, ("encode", "pack")),
    (Connection, ("query_consent", "data_received", "build_request", "get_component_candidates")),
    (RTCIceTransport, ("_monitor",)),
    (
        RTCDtlsTransport,
        (
            "start",
            "_do_handshake",
            "_validate_peer_identity",
            "_setup_srtp",
            "_handle_rtp_data",
            "_RTCDtlsTransport__run",
        ),
    ),
    (StunProtocol, ("datagram_received",)),
    (HeaderExtensionsMap, ("configure", "get", "set")),
    (RtpPacket, ("parse", "serialize")),
)
# (class, names that Python mangles): attributes that its constructor makes and we read or replace.
_PRIVATE: tuple[tuple[type, tuple[str, ...]], ...] = (
    (
        RTCRtpReceiver,
        (
            "__decoder_queue",
            "__decoder_error",
            "__jitter_buffer",
            "__timestamp_mapper",
            "__codecs",
            "__nack_generator",
            "__remote_bitrate_estimator",
        ),
    ),
    (RTCDtlsTransport, ("__local_certificate", "__rx_bytes", "__rx_packets")),
    (HeaderExtensionsMap, ("__ids",)),
    (RTCIceTransport, ("__iceGatherer", "__monitor_task")),
    (RTCRtpSender, ("__encoder", "__rtp_history", "__rtp_timestamp", "__rtp_header_extensions_map")),
)


def check() -> None:
    """Raises AiortcChanged naming what this aiortc lacks."""
    missing = [f"{module.__name__}.{name}" for module, name, _ in _REPLACED if not hasattr(module, name)]
    missing += [f"{owner.__name__}.{name}" for owner, names in _NEEDED for name in names if not hasattr(owner, name)]
    missing += [
        f"{owner.__name__}{name}"
        for owner, names in _PRIVATE
        for name in names
        if f"_{owner.__name__}{name}" not in vars(owner)["__init__"].__code__.co_names
    ]
    if missing:
        raise AiortcChanged(
            f"aiortc {aiortc.__version__} lacks {', '.join(missing)}; install aiortc 1.16 or adapt server/rtc/codecs.py"
        )


def tune() -> None:
    """Puts all of the above in place for every connection made from now on. Again: nothing happens."""
    check()
    for module, name, ours in _REPLACED:
        setattr(module, name, ours)
    offer_extension()
