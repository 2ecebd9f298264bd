"""The per-pixel pass equals its reference, and keeps what it must not change."""

import numpy as np
import pytest

from engine.relighting.apply import (
    ALPHA_LOW,
    ALPHA_RANGE,
    DARK,
    DESATURATION,
    KNEE,
    RIM_SPILL,
    SPECULAR_BASE,
    apply_gain,
)
from engine.relighting.grid import WorkingGrid
from lcvd.lighting.colour import LUMA
from tests.engine.synthetic_person import portrait


def stretched(field, size, start, length):
    """Upsample [rows,cols,C], laid over `length` (height, width) from `start`, linearly to [H,W,C] with held edges."""
    taps = []
    for axis in range(2):
        cells = field.shape[axis]
        at = np.clip((np.arange(size[axis]) + 0.5 - start[axis]) * cells / length[axis] - 0.5, 0, cells - 1)
        low = np.minimum(at.astype(int), max(cells - 2, 0))
        taps.append((low, np.minimum(low + 1, cells - 1), at - low))
    (i0, i1, v), (j0, j1, h) = taps
    v, h = v[:, None, None], h[None, :, None]
    upper = field[i0][:, j0] * (1 - h) + field[i0][:, j1] * h
    lower = field[i1][:, j0] * (1 - h) + field[i1][:, j1] * h
    return upper * (1 - v) + lower * v


def reference_apply_gain(rgb, fields, grid, alpha, background):
    """Compute the same pass with whole images in double precision."""
    size = rgb.shape[:2]
    field = stretched(fields.transpose(1, 2, 0), size, (grid.y0, grid.x0), (grid.height, grid.width))
    alpha = stretched(alpha, size, (0, 0), size)
    code = rgb / 255.0
    cover = ((alpha[..., :3] * code).sum(-1) + alpha[..., 3])[..., None]
    person = np.clip((cover - ALPHA_LOW) / ALPHA_RANGE, 0, 1)
    share = person * alpha[..., 4:] / (person * alpha[..., 4:] + 1 - person + 1e-6)
    right = (np.arange(size[1]) + 0.5) * 2 / size[1] - 1
    up = 1 - (np.arange(size[0]) + 0.5) * 2 / size[0]
    wall = background[0] + right[None, :, None] * background[1] + up[:, None, None] * background[2]
    gain = np.maximum(wall, 0)
    gain = gain + share * (field[..., :3] - gain)
    square = code**2
    luma = (square @ LUMA)[..., None]
    gain = np.minimum(gain, 1) + luma / (luma + DARK) * np.maximum(gain - 1, 0)
    out = square * gain
    grey = (out @ LUMA)[..., None]
    out += DESATURATION * np.maximum(luma - grey, 0) / (luma + 1e-4) * person * (grey - out)
    highlight = luma * share[..., 1:2] + SPECULAR_BASE * (
        RIM_SPILL + (1 - RIM_SPILL) * (1 - (1 - np.clip(cover, 0, 1)) ** 3)
    )
    out += highlight * field[..., 3:]
    peak = np.maximum(out.max(-1, keepdims=True), KNEE)
    over = peak - KNEE
    soft = KNEE + over / (1 + over / (1 - KNEE))
    brighter = gain.max(-1, keepdims=True) + highlight * field[..., 4:5]
    raised = np.clip((brighter - 1) * 4, 0, 1)
    out *= 1 + raised * (soft / peak - 1)
    return np.clip(np.sqrt(out) * 255 + 0.5, 0, 255).astype(np.uint8)


def inputs(size=(123, 161), seed=0):
    rng = np.random.default_rng(seed)
    grid = WorkingGrid(20, 7, 100, 90, 18, 20, size)
    fields = np.concatenate([rng.uniform(0.05, 2.6, (3, 18, 20)), rng.uniform(0, 0.4, (3, 18, 20))]).astype(np.float32)
    alpha = rng.normal(0, 0.4, (31, 40, 7)).astype(np.float32)
    alpha[..., 3] += 0.5
    alpha[..., 4:] = rng.uniform(0.2, 5, (31, 40, 3))
    background = np.array([[0.7, 0.6, 0.5], [0.1, 0.0, -0.1], [0.05, 0.0, 0.0]], np.float32)
    rgb = rng.integers(0, 256, (*size, 3), np.uint8)
    return rgb, fields, grid, alpha, background


@pytest.mark.parametrize("size", [(123, 161), (16, 300), (200, 17)])
def test_equals_reference(size):
    """The fused pass gives what the plain one gives, within one code value of rounding."""
    rgb, fields, grid, alpha, background = inputs(size)
    fast = apply_gain(rgb, fields, grid, alpha, background).astype(int)
    assert np.abs(fast - reference_apply_gain(rgb, fields, grid, alpha, background).astype(int)).max() <= 1


def test_rows_without_the_person_equal_reference():
    """Rows, or ends of rows, that hold nothing of the person take a short path with the same result."""
    rgb, fields, grid, alpha, background = inputs((123, 161))
    alpha[:12, :, :4], alpha[:, :9, :4], alpha[:, 30:, :4] = 0, 0, 0
    alpha[:, 33:, 3] = 0.1  # a mask with noise below the threshold
    fields[3:] = 0  # the specular term reaches less far than alpha's band
    background *= 2.0
    fast = apply_gain(rgb, fields, grid, alpha, background).astype(int)
    assert np.abs(fast - reference_apply_gain(rgb, fields, grid, alpha, background).astype(int)).max() <= 1


def flat(gain=1.0, specular=0.0, person=1.0, wall=1.0, size=(240, 320)):
    grid = WorkingGrid(0, 0, size[1], size[0], 12, 16, size)
    fields = np.empty((6, 12, 16), np.float32)
    fields[:3], fields[3:] = gain, specular
    alpha = np.zeros((12, 16, 7), np.float32)
    alpha[..., 3], alpha[..., 4:] = person, 1
    background = np.zeros((3, 3), np.float32)
    background[0] = wall
    return fields, grid, alpha, background


@pytest.mark.parametrize("person", [0.0, 0.5, 1.0])
def test_gain_one_keeps_every_byte(person):
    """All 256 code values pass through a gain of 1 exactly."""
    rgb = np.arange(256, dtype=np.uint8).repeat(300)[: 240 * 320, None].reshape(240, 320, 1).repeat(3, 2)
    rgb = np.ascontiguousarray(rgb)
    np.testing.assert_array_equal(apply_gain(rgb, *flat(person=person)), rgb)


def test_gain_is_monotonic_and_never_wraps():
    """Brighter pixels stay brighter under a strong gain, and white does not turn black."""
    ramp = np.linspace(0, 255, 320).astype(np.uint8)
    rgb = np.ascontiguousarray(np.tile(ramp[None, :, None], (240, 1, 3)))
    out = apply_gain(rgb, *flat(gain=2.6, specular=0.3))[120, :, 0].astype(int)
    assert (np.diff(out) >= 0).all()
    assert out[-1] >= 240


def test_highlights_keep_their_hue():
    """A bright skin pixel pushed over the knee keeps the order and most of the distance of its channels."""
    rgb = np.full((240, 320, 3), (230, 180, 150), np.uint8)
    r, g, b = apply_gain(rgb, *flat(gain=2.0))[0, 0].astype(int)
    assert r > g > b
    assert g / r == pytest.approx(180 / 230, abs=0.03)


def test_darks_are_not_lifted():
    """Near black a gain of 2.6 adds at most two code values, so noise stays dark."""
    rgb = np.full((240, 320, 3), 6, np.uint8)
    assert apply_gain(rgb, *flat(gain=2.6)).max() <= 8


def test_rim_is_brightest_where_hair_thins_out():
    """A rim term that fades inward peaks where dark hair half covers, without a dark line outside."""
    rgb = np.full((240, 320, 3), 20, np.uint8)
    fields, grid, alpha, background = flat(gain=0.5, wall=0.5)
    across = np.arange(16)  # 20 px a cell: wall up to 5, hair from 9
    alpha[..., 3] = np.clip((across - 5) / 4, 0, 1)
    fields[3:] = 20 * np.clip((10 - across) / 4, 0, 1) ** 2
    line = apply_gain(rgb, fields, grid, alpha, background)[120, :, 1].astype(int)
    peak = int(line.argmax()) / 20 - 0.5
    assert 0.3 <= (peak - 5) / 4 <= 0.95
    start = 4 * 20  # the background's part begins at the frame here, so only the rising side is checked
    assert (np.diff(line[start : line.argmax()]) >= 0).all()
    assert (np.diff(line[line.argmax() :]) <= 0).all()
    assert line.max() > 80 > 20 > line[-1]


def test_dark_hair_before_a_bright_wall_is_mostly_wall():
    """A half-covered pixel whose wall is much brighter follows the wall's gain, not the person's."""
    rgb = np.full((240, 320, 3), 180, np.uint8)
    fields, grid, alpha, background = flat(gain=2.0, person=ALPHA_LOW + 0.5 * ALPHA_RANGE, wall=0.4)
    even = apply_gain(rgb, fields, grid, alpha, background).mean()
    alpha[..., 4:] = 1 / 8
    assert apply_gain(rgb, fields, grid, alpha, background).mean() < 0.85 * even


def test_output_is_new():
    """The input is left alone and the output does not share its memory."""
    rgb = portrait()
    before = rgb.copy()
    out = apply_gain(rgb, *flat(gain=1.5))
    assert not np.shares_memory(out, rgb)
    np.testing.assert_array_equal(rgb, before)
