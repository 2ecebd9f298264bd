"""Holds the participant's sound back as long as the picture takes, so that lips and voice stay together.

A track for aiortc's sender, which asks for the next frame as soon as one is sent: `recv` keeps the time. The delay
itself is made by `server.rtc.sound.delay_line`, its length found by `server.rtc.lip_sync`.
"""

import asyncio
import fractions
import time
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from server.rtc.sound.delay_line import FRAME, FRAME_S, MAX_DELAY_S, OUT_RATE, DelayLine

TIME_BASE = fractions.Fraction(1, OUT_RATE)
CATCH_UP_S = 1.0  # a loop that was busy for less sends the missed frames at once; of more, it leaves them out
# Opus looks 6.5 ms ahead: what it decodes is that much older than its timestamp says, once on the way here and once on
# the way out. Nobody else allows for it.
OPUS_LOOKAHEAD_S = 312 / 48_000


class AudioDelay(MediaStreamTrack):
    """Gives the sound of `track` again, 48 kHz s16 in frames of 20 ms, `match`ed to the picture; 0.03 to 4 s."""

    kind = "audio"

    def __init__(self, track: MediaStreamTrack, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.line = DelayLine()
        self._track = track
        self._clock = clock
        self._changed = asyncio.Event()
        self._ended = False
        self._frames = 0  # that left, or were left out
        self._start_s: float | None = None  # when frame 0 left
        self._rate = OUT_RATE  # of what comes; 48 kHz is Opus

    @property
    def delay_s(self) -> float:
        """The time from arrival to leaving that was asked for, 4 s at most."""
        return self.line.delay_s

    @property
    def lookahead_s(self) -> float:
        """How much older than its time stamp the codec makes a sound each time it decodes one."""
        return OPUS_LOOKAHEAD_S if self._rate == OUT_RATE else 0.0

    def match(self, delay_s: float) -> None:
        """Takes over how long ago, without the network's waiting, what leaves now shall have arrived."""
        self.line.delay_s = min(max(0.0, delay_s), MAX_DELAY_S)

    @property
    def actual_delay_s(self) -> float:
        """That of what leaves next: never less than can be, and gliding where it changes a little."""
        return self.line.actual_delay_s

    def media_s(self, now_s: float) -> float | None:
        """Returns the PTS, in seconds, of what leaves at `now_s`; None before the first frame left."""
        return None if self._start_s is None else now_s - self._start_s

    async def run(self) -> None:
        """Drains the incoming track until it ends."""
        while not self._ended:
            try:
                frame: Any = await self._track.recv()
            except MediaStreamError:
                break
            samples = samples_of(frame)
            if frame.pts is None or not len(samples):
                continue
            self._rate = frame.sample_rate
            position = round(frame.pts * frame.time_base * frame.sample_rate)
            self.line.write(position, samples, frame.sample_rate, self._clock())
            self._changed.set()
        self._ended = True
        self._changed.set()

    def stop(self) -> None:
        super().stop()
        self._ended = True
        self._changed.set()

    async def recv(self) -> av.AudioFrame:
        """Returns the frame that is due now. Raises MediaStreamError once all that came before the end has left."""
        while not self.line.started and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        due_s = await self._due()
        if self.readyState != "live" or (self._ended and self.line.drained(due_s)):
            raise MediaStreamError
        frame = frame_of(self.line.read(due_s))
        frame.pts = self._frames * FRAME
        self._frames += 1
        return frame

    async def _due(self) -> float:
        """Waits until the next frame is due, and returns that time. From the schedule, so that no lateness adds up."""
        now_s = self._clock()
        if self._start_s is None:
            self._start_s = now_s
        due_s = self._start_s + self._frames * FRAME_S
        if now_s - due_s > CATCH_UP_S:  # PTS leave them out too: the track's clock and ours stay tied
            missed = int((now_s - due_s) / FRAME_S)
            self._frames += missed
            due_s += missed * FRAME_S
        while due_s > self._clock() and self.readyState == "live":
            await asyncio.sleep(due_s - self._clock())
        return due_s


def samples_of(frame: av.AudioFrame) -> NDArray[np.int16]:
    """Returns int16 [n, channels] of a frame as aiortc decodes it: s16, mono or stereo."""
    return np.asarray(frame.to_ndarray(), np.int16).reshape(-1, len(frame.layout.channels))


def frame_of(samples: NDArray[np.int16]) -> av.AudioFrame:
    """Returns int16 [FRAME, 1 or 2] as a frame of 48 kHz; its PTS is to be set."""
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate, frame.time_base = OUT_RATE, TIME_BASE
    return frame
