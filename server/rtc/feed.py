"""Encodes a session's picture, or its sound, once for all viewers that take the same codec.

A VideoFeed has one encoder: the bit rate is the least that its viewers' networks carry, within bounds, and key frames
come when a viewer joins or has lost too much, but not more often than once in KEYFRAME_EVERY_S for all of them.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import av
from aiortc.codecs.opus import OpusEncoder

from server.rtc.encoded_track import EncodedTrack
from server.rtc.pictures.codec_timer import CodecTimer, codec_of, untimed
from server.rtc.pictures.encoders import START_BITRATE, LiveH264Encoder, LiveVp8Encoder
from server.rtc.pictures.frames import TIME_BASE

logger = logging.getLogger(__name__)

KEYFRAME_EVERY_S = 1.0
STILL_AFTER_S = 0.2  # no picture came for so long: who waits for a key frame gets one of the last picture
MIN_SHARED_BITRATE = 600_000  # one viewer's bad network makes the picture no worse than this for the others
MAX_WAITING_SOUNDS = 50  # one second
JUMP_S = 2.0  # the source's clock went on by so much more than the time that passed: another source

Clock = Callable[[], float]


class Timeline:
    """Times what goes out on one rising clock, whatever happens to the source's (another camera, a second offer)."""

    def __init__(self, rate_hz: int, clock: Clock) -> None:
        self._rate_hz = rate_hz
        self._clock = clock
        self._shift = 0
        self._last: int | None = None
        self._last_s = 0.0

    @property
    def shift_s(self) -> float:
        """Outgoing time − the source's, in seconds."""
        return self._shift / self._rate_hz

    def at(self, pts: int) -> int:
        """Returns the outgoing time of what the source timed `pts`, in ticks of `rate_hz`."""
        now_s, out = self._clock(), pts + self._shift
        if self._last is not None:
            passed = round((now_s - self._last_s) * self._rate_hz)
            if not 0 < out - self._last <= passed + JUMP_S * self._rate_hz:
                out = self._last + max(1, passed)
                self._shift = out - pts
        self._last, self._last_s = out, now_s
        return out


class _Feed:
    """Shared by both kinds: the tracks, and the task that encodes while there is one."""

    kind = ""

    def __init__(self, clock: Clock) -> None:
        self.tracks: set[EncodedTrack] = set()
        self.encoded = 0  # pictures or sounds
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def join(self) -> EncodedTrack:
        """Returns a new track of this feed. The first one starts the encoder."""
        track = EncodedTrack(self.kind, self.request_keyframe, self._rate_changed, self._target_bps)
        self.tracks.add(track)
        self.request_keyframe()
        if self._task is None:
            self._task = asyncio.ensure_future(self._run_safely())
        return track

    def leave(self, track: EncodedTrack) -> None:
        """Takes `track` out. The last one ends the encoder."""
        self.tracks.discard(track)
        track.stop()
        if not self.tracks and self._task is not None:
            self._task.cancel()
            self._task = None
        self._rate_changed()

    async def close(self) -> None:
        """Ends every track."""
        task = self._task
        for track in list(self.tracks):
            self.leave(track)
        if task is not None:
            with suppress(asyncio.CancelledError):
                await task

    def request_keyframe(self) -> None:
        """Sees to it that a decoder can start soon."""

    def _rate_changed(self) -> None:
        """Hears that a viewer's estimate came, or that one left."""

    def _target_bps(self) -> int | None:
        """Returns the encoder's bit rate; None where it does not matter."""
        return None

    async def _run_safely(self) -> None:
        try:
            await self._run()
        except Exception:  # the feed's boundary: its viewers end, the session goes on
            logger.exception("a feed of %s failed", self.kind)
            for track in list(self.tracks):
                track.stop()

    async def _run(self) -> None:
        raise NotImplementedError

    def _send(self, data: bytes, pts: int, time_base: Any, keyframe: bool) -> None:
        self.encoded += 1
        packet: Any = av.Packet(data)
        packet.pts, packet.time_base, packet.is_keyframe = pts, time_base, keyframe
        for track in list(self.tracks):
            track.put(packet)


class VideoFeed(_Feed):
    """The relit picture in one codec. A picture that comes while the one before is being encoded replaces the next."""

    kind = "video"

    def __init__(self, mime: str, clock: Clock = time.monotonic, on_coded: CodecTimer = untimed) -> None:
        """`mime` is video/vp8 or video/h264, in any case of letters."""
        super().__init__(clock)
        self.encoder: LiveVp8Encoder | LiveH264Encoder = (
            LiveH264Encoder() if mime.lower() == "video/h264" else LiveVp8Encoder()
        )
        self._codec = codec_of(mime)
        self._on_coded = on_coded
        self._next: av.VideoFrame | None = None
        self._last: av.VideoFrame | None = None
        self._last_pts = -1
        self._wake = asyncio.Event()
        self._keyframe_wanted = False
        self._keyframe_s = float("-inf")

    def show(self, picture: av.VideoFrame, pts: int) -> None:
        """Encodes `picture` (rgb24) next; `pts` is its time in ticks of 90 kHz."""
        self._next = self._last = picture
        self._last_pts = pts
        self._wake.set()

    def request_keyframe(self) -> None:
        self._keyframe_wanted = True
        self._wake.set()

    def _target_bps(self) -> int | None:
        return self.encoder.rate.current

    def _rate_changed(self) -> None:
        estimates = [track.bitrate for track in self.tracks if track.bitrate is not None]
        self.encoder.target_bitrate = max(min(estimates), MIN_SHARED_BITRATE) if estimates else START_BITRATE

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            picture = await self._due()
            keyframe = self._keyframe_wanted and self._clock() - self._keyframe_s >= KEYFRAME_EVERY_S
            # Read before the wait: the next picture may come meanwhile.
            pts = self._last_pts
            data, is_key = await loop.run_in_executor(None, self.encoder.compress, picture, keyframe)
            self._on_coded("encode", self._codec, self.encoder.took_s)
            if is_key:
                self._keyframe_s, self._keyframe_wanted = self._clock(), False
            if data:
                self._send(data, pts, TIME_BASE, is_key)

    async def _due(self) -> av.VideoFrame:
        """Waits for a picture; a source that stands still gives its last one to who waits for a key frame."""
        while self._next is None:
            self._wake.clear()
            left_s = self._keyframe_s + KEYFRAME_EVERY_S - self._clock()
            patience_s = max(STILL_AFTER_S, left_s) if self._keyframe_wanted and self._last is not None else None
            try:
                async with asyncio.timeout(patience_s):
                    await self._wake.wait()
            except TimeoutError:
                self._next = self._last
                self._last_pts += 1  # the same moment of the source
        picture, self._next = self._next, None
        return picture


class SoundFeed(_Feed):
    """The matched sound as Opus."""

    kind = "audio"

    def __init__(self, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._encoder = OpusEncoder()
        self._waiting: asyncio.Queue[tuple[av.AudioFrame, int]] = asyncio.Queue(MAX_WAITING_SOUNDS)

    def hear(self, sound: av.AudioFrame, pts: int) -> None:
        """Encodes `sound` (s16, 48 kHz) after what waits; `pts` is its time in samples."""
        if self.tracks and not self._waiting.full():
            self._waiting.put_nowait((sound, pts))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sound, pts = await self._waiting.get()
            payloads, _ = await loop.run_in_executor(None, self._encoder.encode, sound)
            for payload in payloads:  # one, of 20 ms
                self._send(payload, pts, sound.time_base, True)
