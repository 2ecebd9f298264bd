"""This module scores the image quality of a clip in [0,1]: by FasterVQA where it is installed, else without weights.

`BasicImageQuality` is the worst of four parts in [0,1], each the mean over up to four frames. The parts are reported,
so a refused clip has its reason:
detail    source pixels a pixel of the crop's side, at most 1: the rest had to be interpolated
sharpness 1 − the blur of Crété-Roffet et al. 2007 on the face, stretched from [0.25, 0.6] to [0, 1]
clean     absence of 8×8 block edges in the source
exposure  share of the face neither burnt out nor black, and its mean level
The paper keeps clips of Faster-VQA ≥ 0.6; docs/data.md has this score's values for known clips and its threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray

BLUR_TAPS = 9  # of the blur a picture is compared with
SHARP = (0.25, 0.6)  # 1 − blur of an unusably soft face, and of a sharp one
BLOCKY = 1.5  # excess of edges on the grid over edges elsewhere at which the score is 0
SCORED_FRAMES = 4  # of a clip, by BasicImageQuality
PAPER_THRESHOLD = 0.6
BASIC_THRESHOLD = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class FaceStats:
    """Holds the crop of one frame and what a score needs to know about it."""

    crop: NDArray[np.uint8]  # [S,S,3] as it will be trained on
    face: tuple[int, int, int, int]  # left, top, right, bottom of the face in the crop
    source: NDArray[np.uint8]  # [h,w,3] the crop's square in the source's own pixels
    corner: tuple[int, int]  # (left, top) of `source` in the source, where the codec's block grid begins


class QualityScore(NamedTuple):
    """Holds a score and its parts."""

    value: float
    parts: dict[str, float]


class ImageQuality(Protocol):
    """Scores a clip; `threshold` is the least score a clip needs unless the user gives another one."""

    name: str
    threshold: float

    def __call__(self, faces: Sequence[FaceStats]) -> QualityScore: ...


class BasicImageQuality:
    """Scores a clip without weights."""

    name = "basic"
    threshold = BASIC_THRESHOLD

    def __call__(self, faces: Sequence[FaceStats]) -> QualityScore:
        """Scores a clip's frames, at least one."""
        chosen = [faces[i] for i in np.unique(np.linspace(0, len(faces) - 1, SCORED_FRAMES).round().astype(int))]
        rows = [
            (detail(face), *(f(_luma(face.crop), face.face) for f in (sharpness, exposure)), clean(face))
            for face in chosen
        ]
        means = np.mean(rows, axis=0)
        parts = dict(
            zip(("detail", "sharpness", "exposure", "clean"), (round(float(v), 4) for v in means), strict=True)
        )
        return QualityScore(min(parts.values()), parts)


def detail(face: FaceStats) -> float:
    """Returns the side of the square in the source over the side of the crop, at most 1."""
    return min(1.0, face.source.shape[0] / face.crop.shape[0])


def sharpness(luma: FloatArray, face: tuple[int, int, int, int]) -> float:
    """Returns 1 − blur of the face in luma [S,S], stretched to [0,1]: the contrast that a 9-tap blur removes."""
    left, top, right, bottom = face
    patch = luma[top:bottom, left:right]
    if min(patch.shape) <= BLUR_TAPS:
        return 0.0
    blurs = []
    for axis in (0, 1):
        ksize = (1, BLUR_TAPS) if axis == 0 else (BLUR_TAPS, 1)
        soft = cv2.blur(patch, ksize, borderType=cv2.BORDER_REFLECT)
        before, after = np.abs(np.diff(patch, axis=axis)), np.abs(np.diff(soft, axis=axis))
        total = float(before.sum())
        blurs.append(1.0 if total < 1e-6 else float(total - np.maximum(before - after, 0).sum()) / total)
    low, high = SHARP
    return float(np.clip((1 - max(blurs) - low) / (high - low), 0, 1))


def exposure(luma: FloatArray, face: tuple[int, int, int, int]) -> float:
    """Returns 1 for a face well exposed in luma [S,S] of 0…255.

    The score falls with burnt-out or black area and with a very dark mean.
    """
    left, top, right, bottom = face
    patch = luma[top:bottom, left:right]
    if patch.size == 0:
        return 0.0
    lost = float(((patch > 250) | (patch < 6)).mean())
    mean = float(patch.mean())
    level = min(1.0, mean / 50, (255 - mean) / 35)
    return float(np.clip(1 - 2 * lost, 0, 1) * max(level, 0.0))


def clean(face: FaceStats) -> float:
    """Returns 1 − excess of luminance steps across the source's 8-pixel grid over the steps elsewhere.

    Of the two axes the worse one counts.
    """
    luma = _luma(face.source)
    worst = 1.0
    for axis, corner in ((0, face.corner[1]), (1, face.corner[0])):
        steps = np.abs(np.diff(luma, axis=axis))
        edges = (np.arange(steps.shape[axis]) + corner + 1) % 8 == 0
        if not edges.any() or edges.all():
            continue
        on, off = (float(np.compress(keep, steps, axis=axis).mean()) for keep in (edges, ~edges))
        worst = min(worst, 1 - (on / max(off, 0.2) - 1) / BLOCKY)
    return float(np.clip(worst, 0, 1))


def _luma(rgb: NDArray[np.uint8]) -> FloatArray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)


class FasterVqa:
    """Scores a clip's crops with FasterVQA; `files` are folders with its weights and options.

    The paper scored whole data-set clips; here it sees the frames of the sample, which are trained on. Raises
    ModelUnavailable.
    """

    name = "faster-vqa"
    threshold = PAPER_THRESHOLD

    def __init__(self, files: tuple[str, ...], frames: int) -> None:
        from lcvd.metrics.video_quality import OPTIONS, WEIGHTS, load_faster_vqa
        from lcvd.metrics.weight_files import find

        weights, options = find(files, *WEIGHTS), find(files, *OPTIONS)
        assert weights is not None, "faster_vqa_missing said so"
        assert options is not None
        self._indices, self._scorer = load_faster_vqa(weights, options, frames)

    def __call__(self, faces: Sequence[FaceStats]) -> QualityScore:
        """Scores a clip of the number of frames given to the constructor."""
        from lcvd.metrics.video_quality import rescaled

        raw = self._scorer(np.stack([faces[int(i)].crop for i in self._indices]))
        return QualityScore(round(rescaled(raw), 4), {"raw": round(raw, 4)})


def faster_vqa_missing(files: tuple[str, ...]) -> str | None:
    """Returns what FasterVQA lacks here, with its remedy, or None."""
    from lcvd.metrics.metric import Request
    from lcvd.metrics.video_quality import VideoQuality
    from lcvd.types import Lighting

    missing = VideoQuality(Request(lighting=Lighting("any"), frames=1, files=files)).available()
    return None if missing is None else f"{missing.reason}; {missing.remedy}"


def make_image_quality(wanted: str, folders: Sequence[Path], frames: int) -> ImageQuality:
    """Makes the score `wanted`: basic, faster-vqa, or auto (FasterVQA where it is complete).

    Raises ModelUnavailable, ValueError.
    """
    from lcvd.errors import ModelUnavailable

    files = tuple(str(folder) for folder in folders)
    if wanted == "basic":
        return BasicImageQuality()
    if wanted in ("auto", "faster-vqa"):
        missing = faster_vqa_missing(files)
        if missing is None:
            return FasterVqa(files, frames)
        if wanted == "auto":
            return BasicImageQuality()
        raise ModelUnavailable(f"FasterVQA: {missing}", "or use --quality basic")
    raise ValueError(f"quality {wanted!r} is unknown: auto, basic or faster-vqa")
