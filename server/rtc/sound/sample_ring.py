"""Keeps the newest seconds of a sound by position, and fills what is missing so that no edge clicks.

Positions are counted by the source (its RTP timestamps), so that a lost packet is a hole and never shifts what follows.
"""

import numpy as np
from numpy.typing import NDArray

FADE_S = 0.020  # a hole fades out, and in again, this fast
MISORDER_S = 0.5  # what is older than the newest by less is late, by more of another clock


class SampleRing:
    """Holds int16 samples [capacity, channels]. `end` is the position after the newest."""

    def __init__(self, rate: int, channels: int, seconds: float) -> None:
        self.rate = rate
        self._samples = np.zeros((round(rate * seconds), channels), np.int16)
        self._fade = round(rate * FADE_S)
        self.start = self.end = 0  # what is held
        self._empty = True

    @property
    def channels(self) -> int:
        return self._samples.shape[1]

    @property
    def nbytes(self) -> int:
        return self._samples.nbytes

    def fits(self, position: int) -> bool:
        """Returns False where `position` is too far off to go on with this ring: the source has another clock now."""
        return self._empty or -self.rate * MISORDER_S < position - self.end < len(self._samples)

    def write(self, position: int, samples: NDArray[np.int16]) -> None:
        """Takes samples [n, channels] that begin at `position`. What is older than the newest is ignored.

        It may lie in a hole that is being read: half of it would click.
        """
        if self._empty:
            self.start = self.end = position - self._fade  # the beginning is the end of a hole, too
            self._empty = False
        if (hole := position - self.end) > 0:
            self._store(self.end, self._bridge(hole, samples))
            self.end = position
        fresh = samples[self.end - position :]
        self._store(self.end, fresh)
        self.end += len(fresh)
        self.start = max(self.start, self.end - len(self._samples))

    def read(self, position: int, count: int, edge: int | None = None) -> NDArray[np.float32]:
        """Returns float32 [count, channels] from `position`; what is not there is silence, faded into at the end.

        `edge` takes the sound for ended there, though there may be more by now.
        """
        end = self.end if edge is None else min(edge, self.end)
        out = np.zeros((count, self.channels), np.float32)
        first, last = max(position, self.start), min(position + count, end)
        if first < last:
            out[first - position : last - position] = self._held(first, last)
        first, last = max(position, end), min(position + count, end + self._fade)
        if first < last:
            tail = self._fade_out(end)[first - end : last - end]
            out[first - position : first - position + len(tail)] = tail
        return out

    def _held(self, first: int, last: int) -> NDArray[np.int16]:
        return self._samples[np.arange(first, last) % len(self._samples)]

    def _store(self, position: int, samples: NDArray[np.int16]) -> None:
        self._samples[np.arange(position, position + len(samples)) % len(self._samples)] = samples

    def _fade_out(self, end: int) -> NDArray[np.float32]:
        """Returns the sound before `end`, turned around in time and fading: it begins where that stopped."""
        before = self._held(max(self.start, end - self._fade), end)[::-1]
        return before * _falling(len(before))

    def _bridge(self, hole: int, after: NDArray[np.int16]) -> NDArray[np.int16]:
        """Returns int16 [hole, channels]: what came before fades out, what comes `after` fades in, both mirrored."""
        out = np.zeros((hole, self.channels), np.float32)
        length = min(hole, self._fade)
        before = self._held(max(self.start, self.end - length), self.end)[::-1]
        out[: len(before)] = before * _falling(len(before))
        after = after[:length][::-1]
        out[hole - len(after) :] += after * _falling(len(after))[::-1]
        return np.clip(np.rint(out), -32768, 32767).astype(np.int16)


def _falling(count: int) -> NDArray[np.float32]:
    """Returns [count, 1] from 1 to 0 with constant power against the same reversed."""
    return np.cos((np.arange(count, dtype=np.float32) + 0.5) / max(1, count) * np.float32(np.pi / 2))[:, None]
