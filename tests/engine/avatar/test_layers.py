"""A portrait is split into layers, and composited again under a light."""

import numpy as np

from engine.avatar.layers import continued, portrait_layers
from engine.relighting.apply import DARK, DESATURATION, KNEE, SPECULAR_BASE
from engine.relighting.compose import compose
from lcvd.lighting.colour import LUMA
from tests.engine.avatar.synthetic_portrait import SKIN, drawn_portrait, matte
from tests.engine.synthetic_person import person_mask


def test_layers_separate_person_and_background() -> None:
    """Alpha is the drawn person, the background holds nothing of it, and its colours continue beyond its edge."""
    rgb = drawn_portrait()
    layers = portrait_layers(rgb, matte(rgb))
    truth = person_mask((512, 512))
    assert np.abs(layers.alpha - truth).mean() < 0.01
    # The background is greenish, the person is not.
    background = layers.background.astype(int)
    assert (background[..., 1] - background[..., 0]).min() > 0
    edge = truth ^ np.roll(truth, 6, 1)
    beside = layers.person[..., :3][edge & ~truth].astype(int)
    assert np.median(beside[:, 0] - beside[:, 2]) > 0.6 * (SKIN[0] - SKIN[2])


def test_continued_keeps_what_is_known_and_mirrors_detail() -> None:
    """Known pixels keep their values; stripes continue into the unknown with at least half their contrast."""
    stripes = np.zeros((96, 96, 3), np.float32)
    stripes[:] = (120 + 40 * np.sign(np.sin(np.arange(96) * 1.3)))[:, None, None]
    known = np.zeros((96, 96), bool)
    known[:, :60] = True
    filled = continued(stripes, known)
    np.testing.assert_array_equal(filled[known], stripes[known])
    assert filled[10:-10, 64:80].std() > 0.5 * stripes.std()
    assert np.isfinite(filled).all()


def test_nothing_known_is_grey() -> None:
    """Without a known pixel the continuation is grey, and nothing is divided by zero."""
    np.testing.assert_array_equal(continued(np.ones((8, 8, 3), np.float32), np.zeros((8, 8), bool)), 128)


def reference_compose(person, background, fields, background_gain):
    """Compute compose with whole images in plain numpy, on fields as fine as the picture."""
    height, width = background.shape[:2]
    right = (np.arange(width) + 0.5) * 2 / width - 1
    up = 1 - (np.arange(height) + 0.5) * 2 / height
    centre, to_right, to_top = background_gain
    gain_behind = centre + up[:, None, None] * to_top + right[None, :, None] * to_right

    def trusted(gain, squares):
        y = (squares @ LUMA)[..., None]
        gain = np.maximum(gain, 0)
        return np.minimum(gain, 1) + y / (y + DARK) * np.maximum(gain - 1, 0)

    def rolled(squares, peak_gain):
        peak = np.maximum(squares.max(-1), KNEE)
        soft = KNEE + (peak - KNEE) / (1 + (peak - KNEE) / (1 - KNEE))
        raised = np.clip((peak_gain - 1) * 4, 0, 1)
        return squares * (1 + raised * (soft / peak - 1))[..., None]

    behind = (background / 255.0) ** 2
    gain = trusted(gain_behind, behind)
    behind = rolled(behind * gain, gain.max(-1))
    front = (person[..., :3] / 255.0) ** 2
    y = (front @ LUMA)[..., None]
    gain = trusted(fields[:3].transpose(1, 2, 0), front)
    lit = front * gain
    grey = (lit @ LUMA)[..., None]
    highlight = y + SPECULAR_BASE
    lit = (
        lit
        + DESATURATION * np.maximum(y - grey, 0) / (y + 1e-4) * (grey - lit)
        + highlight * fields[3:].transpose(1, 2, 0)
    )
    lit = rolled(lit, gain.max(-1) + (highlight[..., 0] * fields[4]))
    alpha = person[..., 3:] / 255.0
    return np.minimum(np.sqrt(behind + alpha * (lit - behind)) * 255 + 0.5, 255).astype(np.uint8)


def test_compose_equals_reference() -> None:
    """The fused pass agrees with the plain formula to a grey level."""
    random = np.random.default_rng(0)
    person = random.integers(0, 256, (24, 32, 4), np.uint8)
    person[:, :5, 3] = 0
    background = random.integers(0, 256, (24, 32, 3), np.uint8)
    fields = random.uniform(0, 1.8, (6, 24, 32)).astype(np.float32)
    background_gain = np.array([[0.9, 0.8, 1.2], [0.2, -0.1, 0.3], [0.1, 0.2, -0.3]], np.float32)
    fast = compose(person, background, fields, background_gain).astype(int)
    assert np.abs(fast - reference_compose(person, background, fields, background_gain)).max() <= 1
