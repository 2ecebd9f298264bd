"""Footage → raw clips: F frames at a fixed sample rate, of one shot, with one usable face in every frame between.

A *take* is a stretch in which nothing interrupts: no cut, no missing footage, no lost, tiny, turned or cut-off face.
Each take gives as many clips, one after the other, as fit. Sampled frames alone are kept, so memory is F frames.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcvd.protocols import Tracker
from lcvd.tracking.deca import DecaCode, DecaTracker
from lcvd.types import Face
from training.prepare.footage import Footage
from training.prepare.framing import unusable
from training.prepare.shots import CutDetector


@dataclass(frozen=True, slots=True, eq=False)
class RawClip:
    """F sampled frames of one take, whole, and what the tracker says of each."""

    take: int
    frames: tuple[Footage, ...]
    faces: tuple[Face, ...]  # in pixels of the frame
    codes: tuple[DecaCode, ...] = ()  # DECA's coefficients, where DECA tracks


@dataclass(slots=True)
class Tally:
    """What became of the frames of one source."""

    frames: int = 0
    cuts: int = 0
    longest: int = 0  # frames of the longest take
    unusable: Counter[str] | None = None

    def reason(self, needed: int) -> str:
        """Why no clip came of it, in words."""
        lost = self.unusable or Counter()
        if lost and self.longest == 0:
            word, count = lost.most_common(1)[0]
            return f"{word} in {count} of {self.frames} frames"
        because = [f"{count}× {word}" for word, count in lost.most_common(2)]
        because += [f"{self.cuts} cuts"] if self.cuts else []
        why = f" ({', '.join(because)})" if because else ""
        return f"longest usable stretch is {self.longest} of {self.frames} frames, {needed} are needed{why}"


def span(frames: int, rate: int) -> int:
    """How many frames of footage `frames` samples at `rate` reach over."""
    return (frames - 1) * rate + 1


def raw_clips(
    footage: Iterable[Footage], tracker: Tracker, tally: Tally, *, frames: int, rate: int, min_face_px: float
) -> Iterator[RawClip]:
    """Every clip of the footage, in order; `tally` is filled on the way. The tracker starts afresh at every cut."""
    cuts = CutDetector()
    tracker.reset()
    tally.unusable = Counter()
    kept: list[tuple[Footage, Face, DecaCode | None]] = []
    take, length, phase = 0, 0, 0  # frames since the take, and since its latest clip, began
    for frame in footage:
        tally.frames += 1
        cut = cuts.starts_shot(frame.rgb)
        if cut or frame.gap:
            tally.cuts += cut
            tracker.reset()
        face = tracker.track(frame.rgb, frame.t_s)
        reason = unusable(face, _size(frame.rgb), min_face_px)
        if reason is not None:
            tally.unusable[reason] += 1
        if (cut or frame.gap or reason is not None) and length:
            take, length, phase = take + 1, 0, 0
            kept.clear()
        if reason is not None or face is None:
            continue
        if phase % rate == 0:
            kept.append((frame, face, tracker.code if isinstance(tracker, DecaTracker) else None))
        length, phase = length + 1, phase + 1
        tally.longest = max(tally.longest, length)
        if len(kept) == frames:
            shots, faces, codes = zip(*kept, strict=True)
            yield RawClip(take, shots, faces, tuple(code for code in codes if code is not None))
            kept.clear()
            phase = 0


def _size(rgb: NDArray[np.uint8]) -> tuple[int, int]:
    return rgb.shape[0], rgb.shape[1]
