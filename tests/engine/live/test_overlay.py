"""Split and inset are drawn on a copy, both halves of one instant; nothing asked, nothing copied."""

import numpy as np
import pytest

from engine.live.overlay import View, compose
from lcvd.types import Lighting
from tests.engine.live.test_face_advice import a_face

LIGHT = Lighting("day", ambient_rgb=(0.8, 0.8, 0.8))


def pair(height: int = 240, width: int = 320) -> tuple[np.ndarray, np.ndarray]:
    return np.full((height, width, 3), 40, np.uint8), np.full((height, width, 3), 160, np.uint8)


def test_nothing_asked_nothing_copied() -> None:
    """The plain view is the relit picture itself."""
    original, relit = pair()
    assert compose(original, relit, None, LIGHT, View()) is relit


@pytest.mark.parametrize("split", [0.0, 0.25, 0.5, 1.0])
def test_split_puts_the_original_left(split: float) -> None:
    """Left of the divider the original, right of it the relit picture, each in its own place."""
    original, relit = pair()
    picture = compose(original, relit, None, LIGHT, View(split=split))
    column = round(split * 320)
    assert (picture[:, : max(0, column - 1)] == 40).all()
    assert (picture[:, column + 1 :] == 160).all()
    divider = (picture == 255).all(axis=(0, 2)).sum()
    assert divider == (2 if 0 < split < 1 else 0)
    assert (original == 40).all()
    assert (relit == 160).all()


@pytest.mark.parametrize("size", [(480, 640), (640, 360), (120, 160)])
def test_inset_stays_in_its_corner(size: tuple[int, int]) -> None:
    """The hint covers about 28 % of the width in the lower right corner and nothing else."""
    original, relit = pair(*size)
    changed = (compose(original, relit, None, LIGHT, View(hint=True)) != relit).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert np.ptp(columns) + 1 == pytest.approx(0.28 * size[1], abs=2)
    assert columns.min() > size[1] / 2
    assert rows.min() > size[0] / 2
    assert rows.max() < size[0] - 1
    assert columns.max() < size[1] - 1
    assert not changed[rows.min(), columns.min()]  # round corners


def test_inset_shows_the_hint_of_a_face(portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rendered is centred in the inset, whatever the face's place and size in the frame."""
    boxes = []

    def note(face: object, lighting: Lighting, size: tuple[int, int]) -> object:
        vertices = face.vertices_px[:, :2]  # type: ignore[attr-defined]
        boxes.append((vertices.min(0), vertices.max(0), size))
        from lcvd.types import Hints

        return Hints(np.full((*size, 3), 200, np.uint8), np.ones(size, bool))

    monkeypatch.setattr("lcvd.hints.render_hints", note)
    original, relit = pair()
    for width in (30.0, 200.0):
        picture = compose(original, relit, a_face(width), LIGHT, View(hint=True))
    assert (picture == 200).all(axis=2).sum() > 0.9 * (0.28 * 320) * (0.28 * 240) * 0.9
    for low, high, (height, width_px) in boxes:
        assert (low + high) / 2 == pytest.approx((width_px / 2, height / 2), abs=1e-3)
        assert 0.5 * height < high[1] - low[1] <= height
    assert boxes[0][0] == pytest.approx(boxes[1][0], abs=1e-3)


def test_a_tiny_picture_gets_no_inset() -> None:
    """Where an inset has no room, the picture stays."""
    original, relit = pair(6, 8)
    assert (compose(original, relit, None, LIGHT, View(hint=True)) == relit).all()
