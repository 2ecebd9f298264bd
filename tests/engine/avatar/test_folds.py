"""Edges of folds are soft, and everything else stays as it is."""

import cv2
import numpy as np

from engine.avatar.folds import folds_of, soften_fields, soften_pixels

SIZE, CELLS = 128, 32


def folded() -> np.ndarray:
    """Return a uv map [S,S,2] with a fold along a steep diagonal: right of it lies what is 30 px further on."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) + np.float32(0.5)
    return np.dstack([x + 30 * (x > 50 + 0.3 * y), y])


def stairs() -> np.ndarray:
    """Return [S,S,4] white left of the fold and black right of it, opaque."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    person = np.full((SIZE, SIZE, 4), 255, np.uint8)
    person[x > 50 + 0.3 * y, :3] = 0
    return person


def test_the_edge_of_a_fold_is_blurred_and_nothing_else() -> None:
    """Pixels beside the jump become the 3 × 3 binomial mean of the picture as it was; all others keep every byte."""
    person, uv_map = stairs(), folded()
    before = person.copy()
    soften_pixels(person, uv_map, folds_of(uv_map, CELLS))
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    blurred = cv2.filter2D(before.astype(float), -1, kernel)
    edge = np.zeros((SIZE, SIZE), bool)
    for axis in (0, 1):
        jump = np.abs(np.diff(uv_map[..., 0], axis=axis)) > 3
        a, b = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        edge[a] |= jump
        edge[b] |= jump
    inside = np.zeros_like(edge)
    inside[8:-8, 8:-8] = True
    assert (edge & inside).sum() > 150
    assert np.abs(person[edge & inside] - blurred[edge & inside]).max() <= 0.5
    np.testing.assert_array_equal(person[~edge], before[~edge])


def test_light_is_smooth_along_a_fold() -> None:
    """A field with a bright cell here and there along a fold loses its dots; far from the fold nothing changes."""
    fields = np.ones((6, CELLS, CELLS), np.float32)
    rows = np.arange(0, CELLS, 3)
    columns = ((50 + 0.3 * 4 * rows) / 4).astype(int)
    fields[:, rows, columns] = 4.0
    before = fields.copy()
    soften_fields(fields, folds_of(folded(), CELLS))
    assert fields.max() < 2.0
    np.testing.assert_array_equal(fields[..., :8], before[..., :8])
    np.testing.assert_array_equal(fields[..., -6:], before[..., -6:])


def test_a_stretch_is_no_fold() -> None:
    """A map that stretches by half has no fold, and neither has the identity."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    for scale in (1.0, 1.5):
        assert folds_of(np.dstack([scale * x, scale * y]).astype(np.float32), CELLS) is None
