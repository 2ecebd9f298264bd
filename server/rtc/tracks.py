"""Connects aiortc's tracks to the live core: pictures → `LiveStream.submit`, `next_output` → pictures; audio in step.

aiortc's receive queue has no bound, so `VideoInput.run` always drains it; only the live core's mailbox drops.
Pictures arrive as RGB (the decoder's thread made them so) and leave as RGB (the encoder's thread makes
them YUV): the event loop converts nothing. Every picture keeps its PTS, on a clock of 90 kHz.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.live.stream import LiveStream, OutputFrame
from server.rtc.frames import VIDEO_CLOCK_HZ, even, picture_of, rgb_array, rgb_picture
from server.settings import FrameLimits

logger = logging.getLogger(__name__)

KEEPALIVE_S = 1.0  # a muted or stalled source: its last picture again, so that a late decoder finds a key frame
BLANK_AFTER_S = 2.0  # nothing usable came yet: show a dark card instead of nothing
BLANK_SIZE = (360, 640)
BLANK_GREY = 24
MAX_AUDIO_DELAY_S = 1.5  # a window of LCVD takes most of a second; AUDIO_PACKETS holds 2 s
AUDIO_PACKETS = 100  # 2 s of 20 ms: what is held back at most


class VideoInput:
    """Drains the participant's video into the live stream. `on_bad_size(width, height)` hears of unusable pictures."""

    def __init__(
        self, track: MediaStreamTrack, live: LiveStream, limits: FrameLimits, on_bad_size: Callable[[int, int], None]
    ) -> None:
        self._track = track
        self._live = live
        self._limits = limits
        self._on_bad_size = on_bad_size
        self.frames = 0
        self.last_s = float("-inf")  # monotonic time of the last picture, usable or not

    async def run(self) -> None:
        """Submits every picture until the track ends."""
        while True:
            try:
                picture: Any = await self._track.recv()
            except MediaStreamError:
                return
            self.last_s = time.monotonic()
            if not self._fits(picture.width, picture.height):
                self._on_bad_size(picture.width, picture.height)
                continue
            if picture.format.name != "rgb24":  # a decoder that is not ours
                picture = await asyncio.to_thread(rgb_picture, picture)
            self.frames += 1
            t_s = float(picture.pts * picture.time_base) if picture.pts is not None else self.last_s
            self._live.submit(rgb_array(picture), t_s)

    def _fits(self, width: int, height: int) -> bool:
        low, high, pixels = self._limits
        return low <= min(width, height) and max(width, height) <= high and width * height <= pixels


class VideoOutput(MediaStreamTrack):
    """Sends the relit picture. aiortc's sender asks for one at a time, so a slow encoder gets the newest due one."""

    kind = "video"

    def __init__(
        self, on_sent: Callable[[OutputFrame, float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._events_loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._on_sent = on_sent
        self._clock = clock
        self._live: LiveStream | None = None
        self._last: np.ndarray | None = None
        self._pts = -1
        self._sent_s = clock()
        self.frames = 0

    def attach(self, live: LiveStream) -> None:
        """Shows `live` from now on."""
        self._live = live
        self._wake.set()

    def wake(self) -> None:
        """Wakes `recv`. LiveStream's on_output calls it on any thread."""
        # The loop may be gone already when the last result of an engine arrives.
        if not self._events_loop.is_closed():
            self._events_loop.call_soon_threadsafe(self._wake.set)

    def stop(self) -> None:
        super().stop()
        self._live = None
        self._last = None
        self.wake()

    async def recv(self) -> av.VideoFrame:
        """Returns the next picture that is due. Raises MediaStreamError at the end."""
        while self.readyState == "live":
            # Cleared before looking, so that what comes while we look wakes us.
            self._wake.clear()
            now_s = self._clock()
            frame, wait_s = (None, KEEPALIVE_S) if self._live is None else self._live.next_output(now_s)
            if frame is not None:
                return self._send(frame, now_s)
            since_s = now_s - self._sent_s
            still_s = KEEPALIVE_S if self._last is not None else BLANK_AFTER_S
            if since_s >= still_s:
                return self._repeat(since_s, now_s)
            await self._sleep(min(wait_s, still_s - since_s))
        raise MediaStreamError

    async def _sleep(self, seconds: float) -> None:
        handle = self._events_loop.call_later(max(seconds, 0.001), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            handle.cancel()

    def _send(self, frame: OutputFrame, now_s: float) -> av.VideoFrame:
        self._last = even(frame.rgb)
        self._pts = max(self._pts + 1, round(frame.t_s * VIDEO_CLOCK_HZ))
        self._sent_s = now_s
        self.frames += 1
        self._on_sent(frame, now_s)
        return picture_of(self._last, self._pts)

    def _repeat(self, since_s: float, now_s: float) -> av.VideoFrame:
        if self._last is None:
            self._last = np.full((*BLANK_SIZE, 3), BLANK_GREY, np.uint8)
        self._pts += max(1, round(since_s * VIDEO_CLOCK_HZ))
        self._sent_s = now_s
        return picture_of(self._last, self._pts)


class AudioDelay(MediaStreamTrack):
    """Holds the participant's audio back as long as the picture takes, two seconds at most."""

    kind = "audio"

    def __init__(self, track: MediaStreamTrack, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._track = track
        self._clock = clock
        self._held: deque[tuple[float, Any]] = deque(maxlen=AUDIO_PACKETS)
        self._changed = asyncio.Event()
        self._ended = False
        self.delay_s = 0.0

    def match(self, delay_s: float) -> None:
        """Takes over the picture's present delay. Small changes are ignored: each is a tiny gap in the sound."""
        delay_s = min(max(0.0, delay_s), MAX_AUDIO_DELAY_S)
        if abs(delay_s - self.delay_s) > 0.02:
            self.delay_s = delay_s

    async def run(self) -> None:
        """Drains the incoming track until it ends."""
        while not self._ended:
            try:
                packet = await self._track.recv()
            except MediaStreamError:
                break
            self._held.append((self._clock(), packet))
            self._changed.set()
        self._ended = True
        self._changed.set()

    def stop(self) -> None:
        super().stop()
        self._ended = True
        self._held.clear()
        self._changed.set()

    async def recv(self) -> Any:
        """Returns the oldest packet once it is old enough. Raises MediaStreamError at the end."""
        while self.readyState == "live":
            self._changed.clear()
            if self._held:
                wait_s = self._held[0][0] + self.delay_s - self._clock()
                if wait_s <= 0:
                    return self._held.popleft()[1]
                await asyncio.sleep(wait_s)
            elif self._ended:
                break
            else:
                await self._changed.wait()
        raise MediaStreamError
