"""Segments and framing give clips of unbroken face, cropped to inference's square."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

import engine.reference
from lcvd.face.neutral import centred_face
from lcvd.hints import render_hints
from lcvd.tracking.crop import crop, frame_from_crop
from lcvd.types import Face, Lighting
from training.prepare.footage import Footage
from training.prepare.framing import FACES_HIGH, face_in_square, square_around, unusable
from training.prepare.segments import RawClip, SegmentCounts, raw_clips, span

SIZE = (120, 160)


class Script:
    """A tracker that returns what the test wrote, frame by frame."""

    def __init__(self, faces: Sequence[Face | None]) -> None:
        self.faces, self.resets = list(faces), 0

    def track(self, rgb: np.ndarray, t_s: float) -> Face | None:
        return self.faces[round(t_s * 25)]

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None: ...


def footage(count: int, cut_at: int | None = None, gap_at: int | None = None) -> list[Footage]:
    dark, light = (np.full((*SIZE, 3), v, np.uint8) for v in (40, 200))
    return [
        Footage(i, i / 25, light if cut_at is not None and i >= cut_at else dark, i == gap_at) for i in range(count)
    ]


def clips(frames: list[Footage], faces: list[Face | None]) -> tuple[list[RawClip], SegmentCounts]:
    counts = SegmentCounts()
    found = list(raw_clips(frames, Script(faces), counts, frames=4, rate=2, min_face_px=20))
    return found, counts


def numbers(found: list[RawClip]) -> list[tuple[int, list[int]]]:
    return [(clip.segment, [frame.number for frame in clip.frames]) for clip in found]


FACE = centred_face(SIZE, 0.0)


def test_clips_follow_each_other_at_the_sample_rate() -> None:
    """Each clip reaches over (F − 1) · rate + 1 frames, and the next one begins with the frame after."""
    found, counts = clips(footage(20), [FACE] * 20)
    assert span(4, 2) == 7
    assert numbers(found) == [(0, [0, 2, 4, 6]), (0, [7, 9, 11, 13])]
    assert (counts.frames, counts.longest, counts.cuts) == (20, 20, 0)


@pytest.mark.parametrize(
    "broken",
    [None, replace(FACE, held=True), replace(FACE, vertices_px=FACE.vertices_px + np.float32([90, 0, 0]))],
)
def test_a_frame_without_a_usable_face_ends_the_segment(broken: Face | None) -> None:
    """Lost, held, or cut by the frame's edge: no clip reaches across, though only sampled frames are kept."""
    found, counts = clips(footage(20), [FACE] * 5 + [broken] + [FACE] * 14)
    assert numbers(found) == [(1, [6, 8, 10, 12]), (1, [13, 15, 17, 19])]
    assert sum((counts.unusable or {}).values()) == 1


@pytest.mark.parametrize("where", ["cut_at", "gap_at"])
def test_a_cut_or_missing_footage_ends_the_segment(where: str) -> None:
    """Another shot is another segment, even with a face in every frame."""
    found, counts = clips(footage(20, **{where: 8}), [FACE] * 20)
    assert numbers(found) == [(0, [0, 2, 4, 6]), (1, [8, 10, 12, 14])]
    assert counts.cuts == (where == "cut_at")


def test_the_counts_say_why_nothing_came() -> None:
    """Without a face, or with stretches too short, the reason has the numbers."""
    assert clips(footage(9), [None] * 9)[1].reason(7) == "no face in 9 of 9 frames"
    reason = clips(footage(9), [FACE] * 5 + [None] + [FACE] * 3)[1].reason(7)
    assert reason == "longest usable stretch is 5 of 9 frames, 7 are needed (1× no face)"


def test_small_and_turned_faces_are_named() -> None:
    """The reasons are those of rejected.jsonl."""
    a = np.radians(70)
    turned = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]], np.float32)
    assert unusable(FACE, SIZE, 20) is None
    assert unusable(FACE, SIZE, 200) == "face too small"
    assert unusable(replace(FACE, rotation=turned), SIZE, 20) == "face turned away"


def test_the_square_of_a_still_face_is_inferences() -> None:
    """Training crops as engine.reference does, whose constants it may not import."""
    assert FACES_HIGH == engine.reference.FACES_HIGH
    for size in ((120, 160), (400, 400), (700, 300)):
        face = centred_face((120, 160), 0.0)
        expected = engine.reference.square_around(face, size)
        found = square_around([face], size)
        assert found is not None
        assert (found.x_px, found.y_px, found.size_px) == pytest.approx(
            (expected.x_px, expected.y_px, expected.size_px), rel=1e-5
        )


def test_a_head_that_leaves_the_square_is_refused() -> None:
    """One still square must hold the face in every frame."""
    far = replace(FACE, vertices_px=FACE.vertices_px + np.float32([400, 0, 0]))
    assert square_around([FACE, far], (120, 700)) is None


def test_a_face_moved_into_the_square_lies_where_its_pixels_do() -> None:
    """The hint of the moved face is the hint of the whole frame, cropped."""
    face = centred_face((240, 320), 0.0)
    square = square_around([face], (240, 320))
    assert square is not None
    moved = face_in_square(face, square, 256)
    to_frame = frame_from_crop(square, 256)
    assert np.allclose(
        moved.vertices_px[:, :2] @ to_frame[:, :2].T + to_frame[:, 2], face.vertices_px[:, :2], atol=1e-3
    )
    assert moved.width_px == pytest.approx(face.width_px * 256 / square.size_px, rel=1e-5)
    light = Lighting("even", (0.9, 0.9, 0.9))
    direct = render_hints(moved, light, (256, 256)).rgb.astype(int)
    cropped = crop(render_hints(face, light, (240, 320)).rgb, square, 256).astype(int)
    assert np.abs(direct - cropped).mean() < 2
