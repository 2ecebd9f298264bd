"""Removes hidden delay from aiortc's receive path: packets → complete frames → a bounded queue before the decoder.

aiortc hands a frame on when the *next* frame's first packet comes, one frame time (33 ms) late; the RTP marker bit says
at once that it is complete. Its queue before the decoder has no bound, and closing a connection decodes all of it
first.
`server.rtc.codecs.tune` puts these classes in aiortc's place.
"""

import queue
import threading
import time
from typing import Any

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.utils import uint16_add

MAX_QUEUED_FRAMES = 8  # before the decoder: a quarter of a second; beyond it, start again at a key frame
AUDIO_PREFETCH = 2  # packets of 20 ms kept for reordering; aiortc keeps 4


class PromptJitterBuffer(JitterBuffer):
    """aiortc's buffer, but a video frame leaves with its last packet (RTP marker), all complete frames at once."""

    def __init__(self, capacity: int, prefetch: int = 0, is_video: bool = False) -> None:
        super().__init__(capacity, prefetch if is_video else min(prefetch, AUDIO_PREFETCH), is_video)

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        if not self._is_video:
            return super()._remove_frame(sequence_number)
        complete = self._take_complete()
        if not complete:
            return None
        first = PromptFrame(*complete[0])
        first.later = complete[1:]
        return first

    def _take_complete(self) -> list[tuple[bytes, int]]:
        """Removes the leading frames that are complete; returns them as (data, timestamp)."""
        frames: list[tuple[bytes, int]] = []
        parts: list[bytes] = []
        timestamp: int | None = None
        taken = 0
        for count in range(self.capacity):
            packet: Any = self._packets[uint16_add(self._origin or 0, count) % self._capacity]
            if packet is None:
                break
            if timestamp is not None and packet.timestamp != timestamp:
                frames.append((b"".join(parts), timestamp))  # ended without a marker: complete all the same
                parts, taken = [], count
            timestamp = packet.timestamp
            parts.append(packet._data)
            if packet.marker:
                frames.append((b"".join(parts), packet.timestamp))
                parts, timestamp, taken = [], None, count + 1
        self.remove(taken)
        return frames


class PromptFrame(JitterFrame):
    """A frame and those that became complete with it (after a retransmission): (data, timestamp)."""

    later: list[tuple[bytes, int]]

    def __init__(self, data: bytes, timestamp: int) -> None:
        super().__init__(data, timestamp)
        self.completed_s = time.monotonic()  # its last packet came; PromptJitterBuffer makes it at that moment
        self.arrived_timestamp = timestamp  # before aiortc maps `timestamp` to the track's own origin
        self.later = []

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

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if item is None:
            self._clear()
        elif self.qsize() >= MAX_QUEUED_FRAMES:
            self.dropped += self._clear()
            self._decode_error.set()  # the receiver turns it into a PLI
        super().put(item)

    def _clear(self) -> int:
        with self.mutex:
            count = len(self.queue)
            self.queue.clear()
        return count


class LiveReceiver(RTCRtpReceiver):
    """aiortc's receiver with a bounded queue before its decoder."""

    def __init__(self, kind: str, transport: Any) -> None:
        super().__init__(kind, transport)
        if kind == "video":
            error: threading.Event = getattr(self, "_RTCRtpReceiver__decoder_error")  # noqa: B009
            self._RTCRtpReceiver__decoder_queue = BoundedDecoderQueue(error)
