"""Removes hidden delay from aiortc's receive path: packets → complete frames → a bounded queue before the decoder.

aiortc hands a frame on when the *next* frame's first packet comes, one frame time (33 ms) late; the RTP marker bit says
at once that it is complete. Its queue before the decoder has no bound, and closing a connection decodes all of it
first.
`server.rtc.codecs.tune` puts these classes in aiortc's place.
"""

import math
import queue
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtp import RtcpSrPacket
from aiortc.utils import uint16_add, uint16_gt

from server.rtc.intake import Intake
from server.rtc.nacks import RepeatedNacks
from server.rtc.pictures.picture_cap import CapSource, PictureCap, uncapped
from server.rtc.transport.dtls import LiveDtlsTransport
from server.rtc.transport.rtp import ticks_between
from server.rtc.uplink_rate import UplinkRate

MAX_QUEUED_FRAMES = 8  # before the decoder: a quarter of a second; beyond it, start again at a key frame
REPORTS = 8  # of the sender, a second apart: their median counts
REPORT_STEP_S = 0.03  # so far from them a report is of another clock: a microphone that left out sound
KEYFRAME_EVERY_S = 0.5  # a request, or its answer, may be lost too
KEYFRAME_PATIENCE_S = 4.0
AUDIO_REORDER = 3  # packets that come after a missing one before it is given up; aiortc holds every sound for 4


class PromptJitterBuffer(JitterBuffer):
    """aiortc's buffer, but a frame leaves with its last packet, all complete frames at once.

    A video frame's last packet has the RTP marker; a packet of sound is a frame. Whoever plays the sound waits for late
    packets; here it is only put in order.
    """

    payload_type: int | None = None  # of the newest packet
    ssrc: int | None = None  # of it, or of the one that it repeats
    broken_s: float | None = None  # since when only a key frame can be decoded: something before it is lost

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._newest: Any = None  # packet
        self._inside = False  # the packet that comes now ends no picture: most of a large one's do not
        self._key_starts: set[int] = set()  # sequence numbers of packets that begin a key frame, some of them long gone

    def add(self, packet: Any) -> tuple[bool, JitterFrame | None]:
        self.payload_type, self.ssrc = packet.payload_type, packet.ssrc
        self._inside = self._is_video and self._follows(packet) and not packet.marker
        if self._newest is None or uint16_gt(packet.sequence_number, self._newest.sequence_number):
            self._newest = packet
        if self._is_video and starts_key_frame(packet._data):
            self._key_starts.add(packet.sequence_number)
        return super().add(packet)

    def _follows(self, packet: Any) -> bool:
        """Returns True for the next packet of the newest one's picture: nothing before it was missing."""
        newest = self._newest
        return (
            newest is not None
            and not newest.marker
            and newest.timestamp == packet.timestamp
            and packet.sequence_number == uint16_add(newest.sequence_number, 1)
        )

    def give_up(self) -> None:
        """Waits no longer for what is missing; the next picture is a key frame."""
        if self.broken_s is None:
            self.broken_s = time.monotonic()

    def smart_remove(self, count: int) -> bool:
        self.give_up()  # aiortc makes room for a packet far ahead
        return super().smart_remove(count)

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        if self._inside:
            return None
        complete = self._take_pictures() if self._is_video else self._take_in_order()
        if not complete:
            return None
        first = PromptFrame(*complete[0])
        first.later = complete[1:]
        return first

    def _take_in_order(self) -> list[tuple[bytes, int]]:
        """Removes the packets of sound up to the first that is missing; returns them as (data, timestamp)."""
        ahead = [uint16_add(self._origin or 0, count) % self._capacity for count in range(self._capacity)]
        held = [count for count, place in enumerate(ahead) if self._packets[place] is not None]
        if held and held[0] > 0 and len(held) >= AUDIO_REORDER:
            self.remove(held[0])
            return self._take_in_order()
        frames: list[tuple[bytes, int]] = []
        for count, place in enumerate(ahead):
            packet: Any = self._packets[place]
            if packet is None:
                self.remove(count)
                break
            if packet._data:  # FFmpeg takes an empty packet for the end
                frames.append((packet._data, packet.timestamp))
        else:
            self.remove(self._capacity)
        return frames

    def _take_pictures(self) -> list[tuple[bytes, int]]:
        """Removes the pictures that can be decoded by now; where one is lost, those from the next key frame on."""
        if self.broken_s is not None and time.monotonic() - self.broken_s > KEYFRAME_PATIENCE_S:
            self.broken_s = None  # a source that makes none: a spoilt picture is more than none
        if self.broken_s is None and (complete := self._take_complete()):
            return complete
        if (count := self._key_frame()) is None:
            return []
        self.remove(count)
        self.broken_s = None
        return self._take_complete()

    def _key_frame(self) -> int | None:
        """Returns how far ahead a complete key frame begins; None: there is none."""
        # Asked for at every packet of an incomplete picture, and nearly always there is no key frame to look for.
        if not self._key_starts:
            return None
        self._key_starts = {number for number in self._key_starts if self._holds(number)}
        if not self._key_starts:
            return None
        begin: int | None = None
        for count in range(self.capacity):
            packet: Any = self._packets[uint16_add(self._origin or 0, count) % self._capacity]
            if packet is None:
                begin = None
            elif begin is None and starts_key_frame(packet._data):
                begin = count
            if packet is not None and packet.marker and begin is not None:
                return begin
        return None

    def _holds(self, number: int) -> bool:
        packet: Any = self._packets[number % self._capacity]
        return packet is not None and packet.sequence_number == number

    def _take_complete(self) -> list[tuple[bytes, int]]:
        """Removes the leading frames that are complete; returns them as (data, timestamp)."""
        frames: list[tuple[bytes, int]] = []
        origin, capacity = self._origin or 0, self._capacity
        begin = 0
        timestamp: int | None = None
        for count in range(capacity):
            packet: Any = self._packets[(origin + count) % capacity]
            if packet is None:
                break
            if timestamp is not None and packet.timestamp != timestamp:
                frames.append(self._joined(begin, count))  # ended without a marker: complete all the same
                begin = count
            timestamp = packet.timestamp
            if packet.marker:
                frames.append(self._joined(begin, count + 1))
                begin, timestamp = count + 1, None
        self.remove(begin)
        return frames

    def _joined(self, begin: int, end: int) -> tuple[bytes, int]:
        """Returns the frame of the packets from `begin` to `end`, counted from the first that is held."""
        held: list[Any] = [self._packets[((self._origin or 0) + count) % self._capacity] for count in range(begin, end)]
        return b"".join(packet._data for packet in held), held[0].timestamp


def starts_key_frame(data: bytes) -> bool:
    """True for the begin of a VP8 key frame (RFC 6386, 9.1), or of an H.264 one (SPS or IDR) in Annex B."""
    if data[:4] == b"\0\0\0\1":
        return len(data) > 4 and data[4] & 31 in (5, 7)
    return data[3:6] == b"\x9d\x01\x2a" and not data[0] & 1


class PromptFrame(JitterFrame):
    """A frame and those that became complete with it (after a retransmission): (data, timestamp)."""

    later: list[tuple[bytes, int]]

    def __init__(self, data: bytes, timestamp: int) -> None:
        super().__init__(data, timestamp)
        self.completed_s = time.monotonic()  # its last packet came; PromptJitterBuffer makes it at that moment
        self.arrived_timestamp = timestamp  # before aiortc maps `timestamp` to the track's own origin
        self.later = []
        self.cap: PictureCap | None = None  # at which its pictures are handled

    def each(self) -> list[JitterFrame]:
        """Returns this and the later frames, timestamps mapped alike."""
        shift = self.timestamp - self.arrived_timestamp
        return [self, *(JitterFrame(data, timestamp + shift) for data, timestamp in self.later)]


class BoundedDecoderQueue(queue.Queue):
    """Frames before the decoder. Full: all are dropped and a key frame is asked for. None (stop) overtakes them."""

    def __init__(self, decode_error: threading.Event) -> None:
        super().__init__()
        self._decode_error = decode_error
        self.dropped = 0
        self.cap: CapSource = uncapped
        self.source_pixels: Callable[[], int] = int  # of one picture, as it comes
        self.intake = Intake()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if item is None:
            self._clear()
        elif self.qsize() >= MAX_QUEUED_FRAMES:
            self.dropped += self._clear()
            self._decode_error.set()  # the receiver turns it into a PLI
        if isinstance(item, tuple) and isinstance(item[1], PromptFrame):  # with its codec
            cap = self.cap()
            item[1].cap = cap.for_heavy() if cap is not None and self.intake.heavy else cap
            self.intake.took(self.source_pixels())
        super().put(item)

    def _clear(self) -> int:
        with self.mutex:
            count = len(self.queue)
            self.queue.clear()
        return count


class LiveReceiver(RTCRtpReceiver):
    """aiortc's receiver with a bounded queue before its decoder, and an ear for the sender's reports."""

    def __init__(self, kind: str, transport: Any) -> None:
        super().__init__(kind, transport)
        self._captures: deque[float] = deque(maxlen=REPORTS)  # NTP time − PTS, of each report
        self.on_report: Callable[[float], None] | None = None  # takes that of each
        if kind == "video":
            error: threading.Event = getattr(self, "_RTCRtpReceiver__decoder_error")  # noqa: B009
            self._frames = self._RTCRtpReceiver__decoder_queue = BoundedDecoderQueue(error)
            estimator: Any = getattr(self, "_RTCRtpReceiver__remote_bitrate_estimator")  # noqa: B009
            self._uplink = estimator.rate_control = UplinkRate()
            self._nacks: RepeatedNacks | None = RepeatedNacks()
            self._RTCRtpReceiver__nack_generator = self._nacks
        else:
            self._nacks = None
        self._asked_s = float("-inf")  # when a key frame was asked for

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        """Begins to receive; pictures that are not looked at are not even decrypted."""
        if self._nacks is not None and isinstance(self.transport, LiveDtlsTransport):
            self.transport.leave_out({codec.payloadType for codec in parameters.codecs}, self._rests)
        await super().receive(parameters)

    def handle(self, cap: CapSource, source_pixels: Callable[[], int]) -> None:
        """Handles pictures, which have `source_pixels` as they come, at the size and rate of `cap`."""
        self._frames.cap, self._frames.source_pixels = cap, source_pixels

    @property
    def capture_s(self) -> float | None:
        """What to add to a PTS (s) for the sender's clock at that moment (s since 1900); None before a report came."""
        return statistics.median(self._captures) if self._captures else None

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None:
        if self._nacks is not None and self._rests():
            return
        await super()._handle_rtp_packet(packet, arrival_time_ms)
        if self._nacks is None:
            return
        jitter: PromptJitterBuffer = getattr(self, "_RTCRtpReceiver__jitter_buffer")  # noqa: B009
        self._uplink.full = self._nacks.full
        if self._nacks.give_up():
            jitter.give_up()
        if jitter.broken_s is not None and time.monotonic() - self._asked_s > KEYFRAME_EVERY_S and jitter.ssrc:
            self._asked_s = time.monotonic()
            await self._send_rtcp_pli(jitter.ssrc)

    def _rests(self) -> bool:
        """Returns True where this packet is not looked at; after a pause begins anew, with a key frame."""
        cap, intake = self._frames.cap(), self._frames.intake
        rested = intake.resting
        intake.set_limit(cap.intake_px_s if cap is not None else math.inf)
        if not intake.admits():
            return True
        if rested:
            # What was not looked at is not missing.
            self._nacks = self._RTCRtpReceiver__nack_generator = RepeatedNacks()
            jitter: PromptJitterBuffer = getattr(self, "_RTCRtpReceiver__jitter_buffer")  # noqa: B009
            jitter.give_up()
        return False

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        await super()._handle_rtcp_packet(packet)
        if isinstance(packet, RtcpSrPacket):
            pts_s = self._pts_s(packet.sender_info.rtp_timestamp)
            if pts_s is not None:
                self._note_capture(packet.sender_info.ntp_timestamp / 2**32 - pts_s)

    def _note_capture(self, capture_s: float) -> None:
        if self.capture_s is not None and abs(capture_s - self.capture_s) > REPORT_STEP_S:
            self._captures.clear()
        self._captures.append(capture_s)
        if self.on_report is not None:
            self.on_report(capture_s)

    def _pts_s(self, rtp: int) -> float | None:
        """Returns the PTS that a frame with RTP timestamp `rtp`, about now, would have; None before there was one."""
        mapper: Any = getattr(self, "_RTCRtpReceiver__timestamp_mapper")  # noqa: B009
        jitter: PromptJitterBuffer = getattr(self, "_RTCRtpReceiver__jitter_buffer")  # noqa: B009
        codec: Any = getattr(self, "_RTCRtpReceiver__codecs").get(jitter.payload_type)  # noqa: B009
        if mapper._last is None or codec is None:
            return None
        ahead = ticks_between(mapper._last, rtp)
        return float(mapper._last - mapper._origin + ahead) / codec.clockRate
