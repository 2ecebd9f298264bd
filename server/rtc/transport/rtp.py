"""RTP with fewer steps a packet than aiortc (1.16), and the same bytes: headers, clocks, the rate of what came.

What is unusual (padding, contributing sources, other extensions than those of every packet) goes aiortc's own way.
"""

import time
from collections import deque
from struct import Struct, unpack_from
from struct import error as StructError

from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, RtpPacket

ONE_BYTE = 0xBEDE  # profile of the extensions with short heads (RFC 8285, section 4.2)
LARGEST_SHORT = 14  # identifier that a short head holds
VERSION, EXTENDED = 0x80, 0x10  # first byte of a packet
NTP_TO_UNIX_S = 2_208_988_800
NS = 1_000_000_000

_fixed = Struct("!BBHLL")
_extended = Struct("!BBHLLHH")


def current_ms() -> int:
    """Returns the milliseconds since 1900."""
    return time.time_ns() // 1_000_000 + NTP_TO_UNIX_S * 1000


def current_ntp_time() -> int:
    """Returns the time in NTP's format: seconds since 1900, times 2^32."""
    seconds, ns = divmod(time.time_ns(), NS)
    return (seconds + NTP_TO_UNIX_S) << 32 | (ns << 32) // NS


def ticks_between(earlier: int, later: int) -> int:
    """Returns the ticks from one RTP timestamp to another, which turn over at 2^32: negative where that is before."""
    return (later - earlier + 2**31) % 2**32 - 2**31


class LiveExtensions(HeaderExtensionsMap):
    """aiortc's map between header extensions and bytes; `always` are extensions that it adds to every packet."""

    def __init__(self) -> None:
        super().__init__()
        self._mid = self._send_time = self._level = 0  # identifiers; 0: not negotiated
        self._others: frozenset[int] = frozenset()
        self._mids: dict[str, bytes] = {}
        self._always = b""

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        ids: HeaderExtensions = self._HeaderExtensionsMap__ids  # type: ignore[attr-defined]
        self._mid, self._send_time, self._level = ids.mid or 0, ids.abs_send_time or 0, ids.audio_level or 0
        others = (ids.repaired_rtp_stream_id, ids.rtp_stream_id, ids.transmission_offset, ids.transport_sequence_number)
        self._others = frozenset({each for each in others if each} | ({self._level} if self._level else set()))
        self._mids.clear()

    def get(self, extension_profile: int, extension_value: bytes) -> HeaderExtensions:
        if extension_profile != ONE_BYTE:
            return self._get(extension_profile, extension_value)
        values = HeaderExtensions()
        at, end = 0, len(extension_value)
        while at < end:
            head = extension_value[at]
            at += 1
            if not head:  # padding
                continue
            number, stop = head >> 4, at + (head & 15) + 1
            if stop > end or number in self._others:
                return self._get(extension_profile, extension_value)
            if number == self._mid:  # first, as in aiortc, should a peer give one number to two
                values.mid = extension_value[at:stop].decode()
            elif number == self._send_time:
                if stop - at != 3:
                    raise ValueError("abs-send-time has three bytes")
                values.abs_send_time = int.from_bytes(extension_value[at:stop], "big")
            at = stop
        return values

    def _get(self, profile: int, value: bytes) -> HeaderExtensions:
        try:
            return super().get(profile, value)
        except StructError as error:  # aiortc's transport would end of it
            raise ValueError("an RTP header extension has a wrong length") from error

    def set(self, values: HeaderExtensions) -> tuple[int, bytes]:
        value = self._usual(values)
        return super().set(values) if value is None else (ONE_BYTE if value else 0, value)

    def _usual(self, values: HeaderExtensions) -> bytes | None:
        """Returns the bytes of what every packet has; None where there is more, or it does not fit into short heads."""
        if (
            values.repaired_rtp_stream_id is not None
            or values.rtp_stream_id is not None
            or values.transmission_offset is not None
            or values.transport_sequence_number is not None
            or max(self._mid, self._send_time, self._level) > LARGEST_SHORT
        ):
            return None
        value = b""
        if values.mid is not None and self._mid:
            mid = self._mids.get(values.mid)
            if mid is None:
                name = values.mid.encode()
                if not 0 < len(name) <= 16:
                    return None
                mid = self._mids[values.mid] = bytes([self._mid << 4 | len(name) - 1]) + name
            value = mid
        if values.abs_send_time is not None and self._send_time:
            value += (self._send_time << 28 | 2 << 24 | values.abs_send_time).to_bytes(4, "big")
        if values.audio_level is not None and self._level:
            voice, level = values.audio_level
            value += bytes((self._level << 4, (0x80 if voice else 0) | level & 0x7F))
        value += self._always
        return value + bytes(-len(value) % 4)


class LivePacket(RtpPacket):
    """aiortc's packet, read and written in one step where it is a usual one."""

    @classmethod
    def parse(cls, data: bytes, extensions_map: HeaderExtensionsMap = HeaderExtensionsMap()) -> RtpPacket:  # noqa: B008
        if len(data) < _extended.size or data[0] & ~EXTENDED != VERSION:
            return super().parse(data, extensions_map)
        _, kind, number, timestamp, ssrc = _fixed.unpack_from(data)
        packet = cls(kind & 0x7F, kind >> 7, number, timestamp, ssrc)
        begin = _fixed.size
        if data[0] & EXTENDED:
            profile, words = unpack_from("!HH", data, begin)
            begin = _extended.size + 4 * words
            if len(data) < begin:
                return super().parse(data, extensions_map)  # which says what is wrong with it
            packet.extensions = extensions_map.get(profile, data[_extended.size : begin])
        packet.payload = data[begin:]
        return packet

    def serialize(self, extensions_map: HeaderExtensionsMap = HeaderExtensionsMap()) -> bytes:  # noqa: B008
        if self.csrc or self.padding_size:
            return super().serialize(extensions_map)
        profile, value = extensions_map.set(self.extensions)
        kind = self.marker << 7 | self.payload_type
        if not value:
            return _fixed.pack(VERSION, kind, self.sequence_number, self.timestamp, self.ssrc) + self.payload
        first = VERSION | EXTENDED
        return b"".join(
            (
                _extended.pack(first, kind, self.sequence_number, self.timestamp, self.ssrc, profile, len(value) >> 2),
                value,
                self.payload,
            )
        )


def data_of(codec: RTCRtpCodecParameters, payload: bytes) -> bytes:
    """Returns what `payload` holds of a frame. Raises ValueError."""
    # VP8's descriptor as browsers and aiortc send it, a picture's number of 15 bits alone (RFC 7741, section 4.2).
    usual = len(payload) > 4 and payload[0] & 0x80 and payload[1] == 0x80 and payload[2] & 0x80
    return payload[4:] if usual and codec.mimeType == "video/VP8" else depayload(codec, payload)


class RateCounter:
    """Counts what came in the last `window_size` ms; aiortc's clears a bucket for every millisecond that passed."""

    def __init__(self, window_size: int, scale: int = 8000) -> None:
        self._window = window_size
        self._scale = scale
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self._came: deque[tuple[int, int]] = deque()
        self._total = 0
        self._origin_ms: int | None = None

    def add(self, value: int, now_ms: int) -> None:
        """Counts `value` (bytes)."""
        self._forget(now_ms)
        if self._origin_ms is None:
            self._origin_ms = now_ms
        self._came.append((now_ms, value))
        self._total += value

    def rate(self, now_ms: int) -> int | None:
        """Returns the rate (bits a second); None: unknown."""
        self._forget(now_ms)
        if self._origin_ms is None or not self._came or now_ms <= self._origin_ms:
            return None
        return round(self._scale * self._total / (now_ms - self._origin_ms + 1))

    def _forget(self, now_ms: int) -> None:
        if self._origin_ms is None:
            return
        self._origin_ms = max(self._origin_ms, now_ms - self._window + 1)
        while self._came and self._came[0][0] < self._origin_ms:
            self._total -= self._came.popleft()[1]
