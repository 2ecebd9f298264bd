"""A portrait taken apart, and put together again under a light."""

import numpy as np

from engine.avatar.layers import continued, portrait_layers
from engine.relighting.apply import DARK, KNEE, PALER, SHEEN_BASE
from engine.relighting.compose import compose
from tests.engine.avatar.made_up_portrait import SKIN, drawn_portrait, matte
from tests.engine.made_up_person import person_mask


def test_layers_know_the_person_and_the_wall() -> None:
    """Alpha is the drawn person, the backdrop holds nothing of it, and the person's colours go on beyond its edge."""
    rgb = drawn_portrait()
    layers = portrait_layers(rgb, matte(rgb))
    truth = person_mask((512, 512))
    assert np.abs(layers.alpha - truth).mean() < 0.01
    # The wall is greenish, skin and shirt are not.
    wall = layers.backdrop.astype(int)
    assert (wall[..., 1] - wall[..., 0]).min() > 0
    edge = truth ^ np.roll(truth, 6, 1)
    beside = layers.person[..., :3][edge & ~truth].astype(int)
    assert np.median(beside[:, 0] - beside[:, 2]) > 0.6 * (SKIN[0] - SKIN[2])


def test_continued_keeps_what_is_known_and_mirrors_detail() -> None:
    """Known pixels are untouched; stripes go on into the unknown with at least half their contrast."""
    stripes = np.zeros((96, 96, 3), np.float32)
    stripes[:] = (120 + 40 * np.sign(np.sin(np.arange(96) * 1.3)))[:, None, None]
    known = np.zeros((96, 96), bool)
    known[:, :60] = True
    filled = continued(stripes, known)
    np.testing.assert_array_equal(filled[known], stripes[known])
    assert filled[10:-10, 64:80].std() > 0.5 * stripes.std()
    assert np.isfinite(filled).all()


def test_nothing_known_is_grey() -> None:
    """Without a known pixel the continuation is grey and not a division by zero."""
    np.testing.assert_array_equal(continued(np.ones((8, 8, 3), np.float32), np.zeros((8, 8), bool)), 128)


def slow_compose(person, backdrop, fields, background):
    """The readable twin of compose, on fields as fine as the picture."""
    luma = np.array([0.2126, 0.7152, 0.0722])
    height, width = backdrop.shape[:2]
    right = (np.arange(width) + 0.5) * 2 / width - 1
    up = 1 - (np.arange(height) + 0.5) * 2 / height
    wall_gain = background[0] + up[:, None, None] * background[2] + right[None, :, None] * background[1]

    def trusted(gain, squares):
        y = (squares @ luma)[..., None]
        gain = np.maximum(gain, 0)
        return np.minimum(gain, 1) + y / (y + DARK) * np.maximum(gain - 1, 0)

    def rolled(squares, peak_gain):
        peak = np.maximum(squares.max(-1), KNEE)
        soft = KNEE + (peak - KNEE) / (1 + (peak - KNEE) / (1 - KNEE))
        raised = np.clip((peak_gain - 1) * 4, 0, 1)
        return squares * (1 + raised * (soft / peak - 1))[..., None]

    wall = (backdrop / 255.0) ** 2
    gain = trusted(wall_gain, wall)
    wall = rolled(wall * gain, gain.max(-1))
    front = (person[..., :3] / 255.0) ** 2
    y = (front @ luma)[..., None]
    gain = trusted(fields[:3].transpose(1, 2, 0), front)
    lit = front * gain
    grey = (lit @ luma)[..., None]
    shine = y + SHEEN_BASE
    lit = lit + PALER * np.maximum(y - grey, 0) / (y + 1e-4) * (grey - lit) + shine * fields[3:].transpose(1, 2, 0)
    lit = rolled(lit, gain.max(-1) + (shine[..., 0] * fields[4]))
    alpha = person[..., 3:] / 255.0
    return np.minimum(np.sqrt(wall + alpha * (lit - wall)) * 255 + 0.5, 255).astype(np.uint8)


def test_compose_is_its_slow_twin() -> None:
    """The fused pass agrees with the plain formula to a grey level."""
    random = np.random.default_rng(0)
    person = random.integers(0, 256, (24, 32, 4), np.uint8)
    person[:, :5, 3] = 0
    backdrop = random.integers(0, 256, (24, 32, 3), np.uint8)
    fields = random.uniform(0, 1.8, (6, 24, 32)).astype(np.float32)
    background = np.array([[0.9, 0.8, 1.2], [0.2, -0.1, 0.3], [0.1, 0.2, -0.3]], np.float32)
    fast = compose(person, backdrop, fields, background).astype(int)
    assert np.abs(fast - slow_compose(person, backdrop, fields, background)).max() <= 1
