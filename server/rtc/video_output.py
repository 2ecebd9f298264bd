"""Takes the live stream's pictures to aiortc's sender; a calm picture where there is none.

Pictures leave as RGB: the encoder's thread makes them YUV, and the event loop converts nothing. Every picture keeps its
PTS, on a clock of 90 kHz; beside a sound it has the time at which its sound leaves (`server.rtc.lip_sync`).
"""

import asyncio
import time
from collections.abc import Callable

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.live.stream import LiveStream, OutputFrame
from server.rtc.lip_sync import LipSync
from server.rtc.pictures.frames import VIDEO_CLOCK_HZ, even, picture_of

KEEPALIVE_S = 1.0  # a muted or stalled source: its last picture again, so that a late decoder finds a key frame
BLANK_AFTER_S = 2.0  # nothing usable came yet: show a dark card instead of nothing
HOLD_S = 1.5  # beyond that an untouched picture is better than none
BLANK_SIZE = (360, 640)
BLANK_GREY = 24


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
        self._holds = False  # no untouched picture leaves …
        self._hold_end_s = float("inf")  # … before
        self.sent: tuple[int, float] | None = None  # (PTS, arrived_s) of the last picture that was not a repetition
        self.frames = 0
        self.lip_sync: LipSync | None = None  # of a connection with sound, set before the first picture

    def attach(self, live: LiveStream) -> None:
        """Shows `live` from now on."""
        self._live = live
        self._wake.set()

    def hold_untouched(self) -> None:
        """Sends nothing before the first relit picture, or for `HOLD_S` after the first request.

        For a participant who still has the pictures of another connection, or their own.
        """
        self._holds = True

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
        if self._holds and self._hold_end_s == float("inf"):  # asked for once the connection is there
            self._sent_s = self._clock()
            self._hold_end_s = self._sent_s + HOLD_S
        while self.readyState == "live":
            # Cleared before looking, so that what comes while we look wakes us.
            self._wake.clear()
            now_s = self._clock()
            frame, wait_s = (None, KEEPALIVE_S) if self._live is None else self._live.next_output(now_s)
            if frame is not None:
                if self._withheld(frame, now_s):
                    continue
                return self._send(frame, now_s)
            since_s = now_s - self._sent_s
            still_s = KEEPALIVE_S if self._last is not None else BLANK_AFTER_S
            if since_s >= still_s:
                return self._repeat(now_s)
            await self._sleep(min(wait_s, still_s - since_s))
        raise MediaStreamError

    def _withheld(self, frame: OutputFrame, now_s: float) -> bool:
        self._holds = self._holds and not frame.relit and now_s < self._hold_end_s
        return self._holds

    async def _sleep(self, seconds: float) -> None:
        handle = self._events_loop.call_later(max(seconds, 0.001), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            handle.cancel()

    def _send(self, frame: OutputFrame, now_s: float) -> av.VideoFrame:
        self._last = even(frame.rgb)
        t_s = frame.t_s if self.lip_sync is None else self.lip_sync.media_s(frame, now_s)
        self._pts = max(self._pts + 1, round(t_s * VIDEO_CLOCK_HZ))
        self._sent_s = now_s
        self.sent = (self._pts, frame.arrived_s)
        self.frames += 1
        self._on_sent(frame, now_s)
        return picture_of(self._last, self._pts)

    def _repeat(self, now_s: float) -> av.VideoFrame:
        if self._last is None:
            self._last = np.full((*BLANK_SIZE, 3), BLANK_GREY, np.uint8)
        # The same moment of the source: whoever reads RTP timestamps sees how old the picture is.
        t_s = 0.0 if self.lip_sync is None else now_s
        self._pts = max(self._pts + 1, round(t_s * VIDEO_CLOCK_HZ))
        self._sent_s = now_s
        return picture_of(self._last, self._pts)
