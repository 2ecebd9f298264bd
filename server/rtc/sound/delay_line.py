"""The delay line: sound goes in as it arrives, and comes out in frames of 20 ms a given time later, without clicks.

Where to read follows from clocks alone: the frame that leaves at `now_s` begins with the sample that arrived, or would
have without the network's waiting, `delay_s` earlier. A difference to where the line reads by now is made up by reading
up to 0.5 % faster or slower (a clock that drifts, a delay that changes a little), or by one crossfade of equal power
between the two places (another engine). Sans-I/O: the clock is an argument.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.rtc.sound.arrival_line import ArrivalLine
from server.rtc.sound.resample import BEFORE, TAPS, interpolate, needed
from server.rtc.sound.sample_ring import SampleRing

OUT_RATE = 48_000
FRAME = 960  # samples that leave together
FRAME_S = FRAME / OUT_RATE
MAX_DELAY_S = 4.0
RING_S = MAX_DELAY_S + 1.0  # at 48 kHz stereo 960 KB of a participant
MAX_LATENESS_S = 0.2  # a packet later than this is given up, where the delay does not wait for it anyway
JUMP_S = 0.030  # from here on a crossfade; a glide would take over six seconds
GLIDE_FROM_S, GLIDE_TO_S = 0.004, 0.0003
MAX_GLIDE = 0.005
GLIDE_TIME_S = 0.5  # a glide slows down where it would arrive in this time


@dataclass(slots=True)
class Reader:
    """A place in a ring from which a frame is read. `edge` is where the sound ended for the frame before, if it did."""

    ring: SampleRing
    position: float
    edge: int | None = None

    def read(self, step: float, edge: int | None = None) -> NDArray[np.float32]:
        """Returns float32 [FRAME, channels]; `step` is the ring's samples per sample that leaves."""
        whole = int(np.floor(self.position))
        fraction = self.position - whole
        if step == 1 and fraction == 0:
            return self.ring.read(whole, FRAME, edge)
        samples = self.ring.read(whole - BEFORE, needed(fraction, step, FRAME), edge)
        return interpolate(samples, fraction, step, FRAME)


class DelayLine:
    """Delays one sound. `write` takes what arrives, `read` gives the frame that leaves now."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.jumps = 0
        self.starved = 0  # frames for which the sound came too late
        self._line = ArrivalLine()
        self._ring: SampleRing | None = None
        self._reader: Reader | None = None
        self._gliding = False
        self._next_s = 0.0  # when the frame at the reader's place leaves

    @property
    def nbytes(self) -> int:
        """What the line holds in memory."""
        rings = {self._ring, None if self._reader is None else self._reader.ring}
        return sum(ring.nbytes for ring in rings if ring is not None)

    @property
    def started(self) -> bool:
        """True once there is something to read."""
        return self._ring is not None

    @property
    def arrivals(self) -> ArrivalLine:
        """Where the sound's clock stands on ours."""
        return self._line

    def write(self, position: int, samples: NDArray[np.int16], rate: int, now_s: float) -> None:
        """Takes samples [n, channels] that arrive now; `position` counts the source's samples at `rate` Hz."""
        self._line.update(now_s, position / rate)
        ring = self._ring
        if ring is None or (ring.rate, ring.channels) != (rate, samples.shape[1]) or not ring.fits(position):
            ring = self._ring = SampleRing(rate, samples.shape[1], RING_S)
        ring.write(position, samples)

    @property
    def actual_delay_s(self) -> float:
        """How long ago, without the network's waiting, what leaves next will have arrived then.

        Where `read` is about to jump, this is the delay after it.
        """
        if self._reader is None or self._ring is None or self._reader.ring is not self._ring:
            return self._reachable_s()
        delay_s = self._next_s - self._line.offset_s - self._reader.position / self._ring.rate
        return self._reachable_s() if abs(delay_s - self._reachable_s()) > JUMP_S else delay_s

    def drained(self, now_s: float) -> bool:
        """Returns True where all that came has left."""
        reader = self._reader
        return self._ring is None or (reader is not None and reader.position > self._ring.end)

    def read(self, now_s: float) -> NDArray[np.int16]:
        """Returns int16 [FRAME, channels] for the frame that leaves at `now_s`. Only once `started`."""
        ring = self._ring
        if ring is None:
            raise ValueError("nothing was written yet")
        self._next_s = now_s + FRAME_S
        target = (now_s - self._line.offset_s - self._reachable_s()) * ring.rate
        before = self._reader
        if before is None or before.ring is not ring or self._too_far(before, target):
            return self._finish(self._jump(before, Reader(ring, float(round(target)))))
        step = self._step(before, target)
        frame = before.read(step)
        if before.edge not in (None, ring.end):  # more came since the frame before, which faded out
            frame = _crossfade(before.read(step, before.edge), frame)
        self._advance(before, step)
        return self._finish(frame)

    @staticmethod
    def _too_far(reader: Reader, target: float) -> bool:
        """Returns True where only a jump helps; a sound that came too late is already broken, and needs no glide."""
        limit_s = JUMP_S if reader.edge is None else GLIDE_FROM_S
        return abs(target - reader.position) > limit_s * reader.ring.rate

    def _reachable_s(self) -> float:
        """Returns the delay asked for, or the least at which the sound is there in time."""
        rate = OUT_RATE if self._ring is None else self._ring.rate
        least = FRAME_S + TAPS / rate + min(self._line.lateness_s, MAX_LATENESS_S)
        return min(max(self.delay_s, least), MAX_DELAY_S)

    def _step(self, reader: Reader, target: float) -> float:
        """Returns the ring's samples per sample that leaves: 1 at equal rates, but for a glide."""
        rate = reader.ring.rate
        base, off_s = rate / OUT_RATE, (target - reader.position) / rate
        if abs(off_s) > GLIDE_FROM_S:
            self._gliding = True
        if self._gliding and abs(off_s) > GLIDE_TO_S:
            return base * (1 + float(np.clip(off_s / GLIDE_TIME_S, -MAX_GLIDE, MAX_GLIDE)))
        self._gliding = False
        if rate == OUT_RATE and reader.position % 1:  # back to whole samples, which are copied and not interpolated
            return 1 + (round(reader.position) - reader.position) / FRAME
        return base

    def _jump(self, before: Reader | None, after: Reader) -> NDArray[np.float32]:
        """Returns the frame that goes over from one place to the other."""
        base = after.ring.rate / OUT_RATE
        frame = after.read(base)
        if before is None:
            old = np.zeros_like(frame)
        else:
            old = before.read(before.ring.rate / OUT_RATE, before.edge)
            self.jumps += 1
        if old.shape[1] != frame.shape[1]:
            old = np.repeat(old.mean(axis=1, keepdims=True), frame.shape[1], axis=1)
        self._gliding = False
        self._reader = after
        self._advance(after, base)
        return _crossfade(old, frame)

    def _advance(self, reader: Reader, step: float) -> None:
        end = reader.ring.end
        reader.position += step * FRAME
        if reader.ring.rate == OUT_RATE and abs(reader.position - round(reader.position)) < 1e-6:
            reader.position = float(round(reader.position))
        reader.edge = end if reader.position > end else None
        self.starved += reader.edge is not None

    @staticmethod
    def _finish(frame: NDArray[np.float32]) -> NDArray[np.int16]:
        return np.clip(np.rint(frame), -32768, 32767).astype(np.int16)


def _crossfade(old: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    """Goes over from `old` to `new` [n, channels] with constant power."""
    angle = (np.arange(len(new), dtype=np.float32) + 0.5) / len(new) * np.float32(np.pi / 2)
    return np.asarray(old * np.cos(angle)[:, None] + new * np.sin(angle)[:, None], np.float32)
