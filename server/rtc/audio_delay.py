"""Holds the participant's sound back as long as the picture takes, so that lips and voice stay together."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

MAX_AUDIO_DELAY_S = 1.5  # a window of LCVD takes most of a second; AUDIO_PACKETS holds 2 s
AUDIO_PACKETS = 100  # 2 s of 20 ms: what is held back at most


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
