"""server.rtc.transport.rtp: the same packets and bytes as aiortc's own code, in fewer steps."""

import struct
from contextlib import suppress

import aiortc.clock
from aiortc.codecs import depayload
from aiortc.rate import RateCounter
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import (
    HeaderExtensions,
    HeaderExtensionsMap,
    RtpPacket,
    pack_header_extensions,
    unpack_header_extensions,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.rtc import playout_delay
from server.rtc.transport import rtp

URIS = {
    "mid": "urn:ietf:params:rtp-hdrext:sdes:mid",
    "abs_send_time": "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "audio_level": "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "transmission_offset": "urn:ietf:params:rtp-hdrext:toffset",
    "rtp_stream_id": "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "transport_sequence_number": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
}
UNTIMED = settings(deadline=None)
IDENTIFIERS = st.fixed_dictionaries({}, optional={name: st.integers(1, 18) for name in URIS})
VALUES = st.builds(
    HeaderExtensions,
    mid=st.none() | st.text("abc0", min_size=1, max_size=20),
    abs_send_time=st.none() | st.integers(0, 2**24 - 1),
    audio_level=st.none() | st.tuples(st.booleans(), st.integers(0, 127)),
    rtp_stream_id=st.none() | st.just("hi"),
    transport_sequence_number=st.none() | st.integers(0, 65535),
)
PACKETS = st.builds(
    rtp.LivePacket,
    payload_type=st.integers(0, 127),
    marker=st.integers(0, 1),
    sequence_number=st.integers(0, 65535),
    timestamp=st.integers(0, 2**32 - 1),
    ssrc=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=40),
)


def negotiated(ids: dict[str, int], playout: int | None = None) -> RTCRtpParameters:
    """Parameters of a section whose extensions have these identifiers."""
    uris = {**{URIS[name]: number for name, number in ids.items()}}
    if playout is not None:
        uris[playout_delay.URI] = playout
    return RTCRtpParameters(
        headerExtensions=[RTCRtpHeaderExtensionParameters(id=n, uri=uri) for uri, n in uris.items()]
    )


def maps(ids: dict[str, int]) -> tuple[HeaderExtensionsMap, rtp.LiveExtensions]:
    """aiortc's map and ours."""
    theirs, ours = HeaderExtensionsMap(), rtp.LiveExtensions()
    for each in (theirs, ours):
        each.configure(negotiated(ids))
    return theirs, ours


def outcome(parse, data: bytes, extensions: HeaderExtensionsMap):
    """All that a packet holds; None where it is refused."""
    try:
        return vars(parse(data, extensions))
    except (ValueError, struct.error):  # the latter ends aiortc's transport
        return None


@UNTIMED
@given(ids=IDENTIFIERS, values=VALUES, packet=PACKETS)
def test_the_bytes_sent_are_the_same(ids: dict[str, int], values: HeaderExtensions, packet: RtpPacket) -> None:
    """A packet with any extensions, of one and of two bytes' heads, is written as aiortc writes it."""
    theirs, ours = maps(ids)
    packet.extensions = values
    assert packet.serialize(ours) == RtpPacket.serialize(packet, theirs)


@UNTIMED
@example(
    ids={"mid": 1, "abs_send_time": 1}, values=HeaderExtensions(abs_send_time=0), packet=RtpPacket(), csrc=[], cut=0
)
@given(
    ids=IDENTIFIERS, values=VALUES, packet=PACKETS, csrc=st.lists(st.integers(0, 9), max_size=2), cut=st.integers(0, 9)
)
def test_what_is_read_is_the_same(
    ids: dict[str, int], values: HeaderExtensions, packet: RtpPacket, csrc: list[int], cut: int
) -> None:
    """Also of packets with contributing sources, and of those that end too soon."""
    theirs, ours = maps(ids)
    packet.extensions, packet.csrc = values, csrc
    data = RtpPacket.serialize(packet, theirs)
    data = data[: len(data) - cut]
    assert outcome(rtp.LivePacket.parse, data, ours) == outcome(RtpPacket.parse, data, theirs)


@UNTIMED
@given(ids=IDENTIFIERS, first=st.sampled_from([0x80, 0x90, 0xB0, 0x92, 0x40]), data=st.binary(max_size=60))
def test_rubbish_is_read_or_refused_alike(ids: dict[str, int], first: int, data: bytes) -> None:
    """Whatever comes, and behind a profile of extensions too: the same packet, or a ValueError."""
    theirs, ours = maps(ids)
    for packet in (bytes([first]) + data, bytes([first]) + data[:11] + b"\xbe\xde\x00\x03" + data[11:]):
        assert outcome(rtp.LivePacket.parse, packet, ours) == outcome(RtpPacket.parse, packet, theirs)
        with suppress(ValueError):  # anything else would end the transport
            rtp.LivePacket.parse(packet, ours)


@UNTIMED
@given(ids=IDENTIFIERS, values=VALUES, number=st.integers(1, 18))
def test_the_playout_delay_is_added_to_the_same_bytes(
    ids: dict[str, int], values: HeaderExtensions, number: int
) -> None:
    """One more extension, behind aiortc's own."""
    theirs, ours = HeaderExtensionsMap(), playout_delay.PromptExtensions()
    theirs.configure(negotiated(ids))
    ours.configure(negotiated(ids, number))
    expected = pack_header_extensions([*unpack_header_extensions(*theirs.set(values)), (number, playout_delay.VALUE)])
    assert ours.set(values) == expected


@UNTIMED
@given(payload=st.binary(max_size=12), codec=st.sampled_from(["video/VP8", "video/H264", "audio/opus"]))
def test_payloads_are_taken_apart_alike(payload: bytes, codec: str) -> None:
    """VP8's descriptor in every form, H.264, and sound."""
    parameters = RTCRtpCodecParameters(mimeType=codec, clockRate=90000, payloadType=97)

    def taken(function) -> bytes | str:
        try:
            return function(parameters, payload)
        except ValueError as error:
            return str(error)

    assert taken(rtp.data_of) == taken(depayload)


@UNTIMED
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 3000)), max_size=40), st.integers(0, 3000))
def test_the_rate_is_the_same(steps: list[tuple[int, int]], later: int) -> None:
    """Of any packets, before, while and after the window is full, and after a pause."""
    theirs, ours = RateCounter(1000, 8000), rtp.RateCounter(1000, 8000)
    now = 1_000_000
    for step, size in steps:
        now += step
        assert ours.rate(now) == theirs.rate(now)
        for counter in (theirs, ours):
            counter.add(size, now)
        assert ours.rate(now) == theirs.rate(now)
    assert ours.rate(now + later) == theirs.rate(now + later)
    for counter in (theirs, ours):
        counter.reset()
    assert ours.rate(now + later) is theirs.rate(now + later) is None


def test_the_clocks_are_the_same() -> None:
    """Milliseconds and NTP time between two readings of the system's clock, by aiortc's own functions."""
    before = aiortc.clock.datetime_to_ntp(aiortc.clock.current_datetime())
    ntp, ms = rtp.current_ntp_time(), rtp.current_ms()
    after = aiortc.clock.datetime_to_ntp(aiortc.clock.current_datetime())
    second = 2**32
    assert before - second // 10**5 <= ntp <= after + second // 10**5
    assert before * 1000 // second - 1 <= ms <= after * 1000 // second + 1
