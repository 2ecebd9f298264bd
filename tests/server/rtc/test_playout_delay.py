"""A receiver is asked to show pictures at once."""

from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensions, unpack_header_extensions

from server.rtc.playout_delay import URI, PromptExtensions

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"


def test_every_packet_says_so_once_negotiated() -> None:
    """The least delay is zero, the most half a second, beside what aiortc itself sends; else nothing is added."""
    extensions = PromptExtensions()
    mid = RTCRtpHeaderExtensionParameters(id=1, uri=MID)
    extensions.configure(RTCRtpParameters(headerExtensions=[mid]))
    assert unpack_header_extensions(*extensions.set(HeaderExtensions(mid="0"))) == [(1, b"0")]
    agreed = RTCRtpHeaderExtensionParameters(id=5, uri=URI)
    extensions.configure(RTCRtpParameters(headerExtensions=[mid, agreed]))
    assert unpack_header_extensions(*extensions.set(HeaderExtensions(mid="0"))) == [(1, b"0"), (5, b"\x00\x00\x32")]
