"""This module cuts footage into raw clips: F frames at a fixed sample rate, of one shot, with a usable face throughout.

A *segment* is a stretch without a cut, missing footage, or a lost, small, turned or cut-off face. Each segment gives as
many clips, one after the other, as fit. Only sampled frames are kept, so memory is F frames.
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
    """Holds F sampled, uncropped frames of one segment, with their tracked faces."""

    segment: int
    frames: tuple[Footage, ...]
    faces: tuple[Face, ...]  # in pixels of the frame
    codes: tuple[DecaCode, ...] = ()  # DECA's coefficients, where DECA tracks


@dataclass(slots=True)
class SegmentCounts:
    """Counts one source's frames, cuts and unusable faces."""

    frames: int = 0
    cuts: int = 0
    longest: int = 0  # frames of the longest segment
    unusable: Counter[str] | None = None

    def reason(self, needed: int) -> str:
        """Returns the reason why no clip came of the source."""
        lost = self.unusable or Counter()
        if lost and self.longest == 0:
            word, count = lost.most_common(1)[0]
            return f"{word} in {count} of {self.frames} frames"
        because = [f"{count}× {word}" for word, count in lost.most_common(2)]
        because += [f"{self.cuts} cuts"] if self.cuts else []
        why = f" ({', '.join(because)})" if because else ""
        return f"longest usable stretch is {self.longest} of {self.frames} frames, {needed} are needed{why}"


def span(frames: int, rate: int) -> int:
    """Returns how many frames of footage `frames` samples at `rate` reach over."""
    return (frames - 1) * rate + 1


def raw_clips(
    footage: Iterable[Footage], tracker: Tracker, counts: SegmentCounts, *, frames: int, rate: int, min_face_px: float
) -> Iterator[RawClip]:
    """Yields every clip of the footage, in order, and fills `counts` on the way.

    The tracker is reset at every cut and gap.
    """
    cuts = CutDetector()
    tracker.reset()
    counts.unusable = Counter()
    sampled: list[tuple[Footage, Face, DecaCode | None]] = []
    segment, length, phase = 0, 0, 0  # frames since the segment, and since its latest clip, began
    for frame in footage:
        counts.frames += 1
        cut = cuts.starts_shot(frame.rgb)
        if cut or frame.gap:
            counts.cuts += cut
            tracker.reset()
        face = tracker.track(frame.rgb, frame.t_s)
        reason = unusable(face, _size(frame.rgb), min_face_px)
        if reason is not None:
            counts.unusable[reason] += 1
        if (cut or frame.gap or reason is not None) and length:
            segment, length, phase = segment + 1, 0, 0
            sampled.clear()
        if reason is not None or face is None:
            continue
        if phase % rate == 0:
            sampled.append((frame, face, tracker.code if isinstance(tracker, DecaTracker) else None))
        length, phase = length + 1, phase + 1
        counts.longest = max(counts.longest, length)
        if len(sampled) == frames:
            shots, faces, codes = zip(*sampled, strict=True)
            yield RawClip(segment, shots, faces, tuple(code for code in codes if code is not None))
            sampled.clear()
            phase = 0


def _size(rgb: NDArray[np.uint8]) -> tuple[int, int]:
    return rgb.shape[0], rgb.shape[1]
