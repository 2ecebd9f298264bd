"""Noise is measured on the face, and smoothed where a light lifts it and nowhere else."""

import cv2
import numpy as np
import pytest

from engine.relighting.alpha import coarse_size
from engine.relighting.apply import apply_gain
from engine.relighting.denoise import FROM, NOTHING, NoiseLevel, smoothing
from engine.relighting.grid import WorkingGrid
from lcvd.face.neutral import centred_face

SIZE = (240, 320)
GRID = WorkingGrid(0, 0, 320, 240, 96, 128, SIZE)
PERSON = np.ones((GRID.rows, GRID.cols), np.float32)
BACKGROUND = np.array([[1, 1, 1], [0, 0, 0], [0, 0, 0]], np.float32)


def dark(noise: float, seed: int = 0) -> np.ndarray:
    """Return a dark picture [H,W,3]: 50 at the left, 100 from the middle on, with a camera's noise."""
    level = np.where(np.arange(SIZE[1]) < SIZE[1] // 2, 50.0, 100.0)
    drawn = np.random.default_rng(seed).normal(0, noise, (*SIZE, 3)) + level[None, :, None]
    return np.clip(drawn + 0.5, 0, 255).astype(np.uint8)


def coarse(rgb: np.ndarray) -> np.ndarray:
    small = cv2.resize(rgb, coarse_size(*SIZE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def lit(rgb: np.ndarray, gain: float, smooth: np.ndarray, noise: float = 4.0) -> np.ndarray:
    """Return `rgb` under one gain of squares, all of it person."""
    fields = np.zeros((6, GRID.rows, GRID.cols), np.float32)
    fields[:3] = gain
    alpha = np.zeros((120, 160, 7), np.float32)
    alpha[..., 3:] = 1
    return apply_gain(rgb, fields, GRID, alpha, BACKGROUND, smooth, noise)


@pytest.mark.parametrize("sigma", [2.0, 5.0])
def test_the_noise_is_measured(sigma: float) -> None:
    """To 15 % from one frame, and far below a level without noise."""
    face = centred_face(SIZE, 0.0)
    assert NoiseLevel().update(dark(sigma), face) == pytest.approx(sigma, rel=0.15)
    assert NoiseLevel().update(dark(0.0), face) < 0.2


def test_a_bright_face_leaves_what_was_measured() -> None:
    """Noise is that of dark pixels; where there are none, the last figure stays."""
    face, level = centred_face(SIZE, 0.0), NoiseLevel()
    before = level.update(dark(3.0), face)
    assert level.update(np.full((*SIZE, 3), 220, np.uint8), face) == before


def test_nothing_is_smoothed_without_lift_or_noise() -> None:
    """A light that only dims, or a picture without noise, leaves the filter out."""
    rgb = dark(4.0)
    flat = np.ones((GRID.rows, GRID.cols), np.float32)
    assert smoothing(coarse(rgb), PERSON, FROM * flat, GRID, 4.0) is NOTHING
    assert smoothing(coarse(rgb), PERSON, 3 * flat, GRID, 0.5) is NOTHING


def test_lifted_noise_is_calmed_and_an_edge_stays() -> None:
    """Noise of a lifted flat part falls by more than a third; the step beside it stays as steep as it was."""
    rgb = dark(4.0)
    smooth = smoothing(coarse(rgb), PERSON, np.full((GRID.rows, GRID.cols), 2.6, np.float32), GRID, 4.0)
    plain, calm = (lit(rgb, 2.6, each).astype(float) for each in (NOTHING, smooth))
    assert calm[20:220, 20:140].std() < 0.66 * plain[20:220, 20:140].std()
    step = [picture[:, 161:164].mean() - picture[:, 156:159].mean() for picture in (plain, calm)]
    assert step[1] > 0.9 * step[0]
    assert calm.mean() == pytest.approx(plain.mean(), abs=0.5)


def test_dark_pixels_are_lifted_as_far_as_noise_allows() -> None:
    """Code value 12 hardly brightens where noise is as large; without noise it does."""
    rgb = np.full((*SIZE, 3), 12, np.uint8)
    noisy, quiet = (lit(rgb, 4.0, NOTHING, noise).mean() for noise in (6.0, 1.0))
    assert noisy < 18
    assert quiet > 21


def test_what_is_not_lifted_keeps_every_byte() -> None:
    """Where only the right half is lifted, the left half's pixels are untouched."""
    rgb = dark(4.0)
    gain = np.ones((GRID.rows, GRID.cols), np.float32)
    gain[:, GRID.cols // 2 :] = 2.6
    smooth = smoothing(coarse(rgb), PERSON, gain, GRID, 4.0)
    assert np.array_equal(lit(rgb, 1.0, smooth)[:, :150], rgb[:, :150])
    assert not np.array_equal(lit(rgb, 1.0, smooth)[:, 170:], rgb[:, 170:])


def test_the_wall_is_not_smoothed() -> None:
    """Beside the person the light lifts nothing, whatever the field says there."""
    gain = np.full((GRID.rows, GRID.cols), 2.6, np.float32)
    assert not smoothing(coarse(dark(4.0)), 0 * PERSON, gain, GRID, 4.0)[0].any()
