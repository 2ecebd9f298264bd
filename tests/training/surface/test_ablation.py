"""The trial's reference: a plain ratio image of the truth gives back the truth."""

import numpy as np

from lcvd.lighting.colour import srgb_from_linear
from lcvd.lighting.lighting import shading
from lcvd.types import DirectionalLight, Lighting
from training.surface.ablation import plain
from training.surface.evaluate import psnr, window_room


def bytes_of(linear: np.ndarray) -> np.ndarray:
    return np.round(255 * srgb_from_linear(linear)).astype(np.uint8)


def test_a_plain_ratio_of_the_truth_is_the_truth() -> None:
    """A matte ball of two paints goes from one light to another, to what 8 bits leave."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j] * 0.65
    normal = np.dstack([x, -y, np.sqrt(1 - x * x - y * y)]).astype(np.float32)
    paint = np.where(x[..., None] > 0, 0.5, 0.25) * np.array([1.0, 0.7, 0.6])
    left, right = (
        Lighting(name, (0.3,) * 3, (DirectionalLight((side * 0.6, 0.0, 0.8), (0.6,) * 3, 0.3, 0.0),))
        for name, side in (("left", -1), ("right", 1))
    )
    before, true = (bytes_of(paint * shading(light, normal)) for light in (left, right))
    found = plain(before, normal, shading(left, normal)[..., 0], right, 0.0, 100.0)
    assert psnr(before / np.float32(255), true / np.float32(255)) < 25
    assert psnr(found / np.float32(255), true / np.float32(255)) > 45


def test_a_hard_room_is_lit_from_one_side() -> None:
    """Nearly all light comes from the lamp, and it stands beside the face."""
    for seed in range(5):
        room = window_room(np.random.default_rng(seed))
        lamp = room.lamp > 0
        assert room.rgb[lamp].sum() > 1.5 * room.rgb[~lamp].sum()
        assert abs(room.directions[lamp].mean(0)[0]) > 0.45
