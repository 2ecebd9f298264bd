"""Alpha from local colours equals its reference, is sharp where the mask is not, and follows it where colours agree."""

import numpy as np

from engine.relighting.alpha import (
    BAND,
    FAR,
    FAR_SHARE,
    NEAR,
    NOISE,
    RATIO_MAX,
    SURE,
    alpha_at,
    alpha_coefficients,
    mean_within,
)
from engine.relighting.runs import ALPHA_LOW, ALPHA_RANGE


def box(field, radius):
    """Return the mean over a square window with a mirrored border (cv2.BORDER_REFLECT repeats the edge pixel)."""
    pad = [(radius, radius)] * 2 + [(0, 0)] * (field.ndim - 2)
    padded = np.pad(field.astype(float), pad, mode="symmetric")
    height, width = field.shape[:2]
    out = np.zeros(field.shape)
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            out += padded[dy : dy + height, dx : dx + width]
    return out / (2 * radius + 1) ** 2


def reference_coefficients(rgb, mask):
    """Return the same least-squares coefficients, computed with whole images in plain numpy."""
    soft = np.pad(mask, 1, mode="edge")
    soft = sum(soft[i : i + mask.shape[0], j : j + mask.shape[1]] for i in range(3) for j in range(3)) / 9
    front = np.maximum(soft - (1 - SURE), 0) / SURE
    back = np.maximum(SURE - soft, 0) / SURE

    def means(weight):
        layers = np.dstack([weight, weight[..., None] * rgb, weight * (rgb**2).sum(-1)])
        layers = box(layers, NEAR) + FAR_SHARE * box(layers, FAR)
        colour = layers[..., 1:4] / (layers[..., :1] + 1e-5)
        spread = np.maximum(layers[..., 4] / (layers[..., 0] + 1e-5) - (colour**2).sum(-1), 0)
        return layers[..., 0], colour, spread

    wf, f, spread_f = means(front)
    wb, b, spread_b = means(back)
    wide = box(mask, BAND)
    near = np.clip(np.minimum(wide, 1 - wide) * 8 - 0.2, 0, 1) * np.minimum(np.minimum(wf, wb) * 2e4, 1)
    apart = ((f - b) ** 2).sum(-1)
    scatter = spread_f + spread_b
    noise = scatter * np.clip(4 * scatter / (apart + NOISE), 0.3, 6) + NOISE
    a = near[..., None] * (f - b) / (apart + noise)[..., None]
    offset = near * (noise * mask - (b * (f - b)).sum(-1)) / (apart + noise) + (1 - near) * mask
    ratio = np.clip((f**2 + 0.005) / (b**2 + 0.005), 1 / RATIO_MAX, RATIO_MAX)
    return box(np.dstack([a, offset, 1 + near[..., None] * (ratio - 1)]), 1)


def scene(person=(0.15, 0.1, 0.08), wall=(0.8, 0.8, 0.75), noise=0.01, size=(60, 80)):
    """Return rgb, the true alpha with thin hairs on its border, and the soft mask a network would give."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1]]
    radius = np.hypot(x - size[1] / 2, y - size[0] / 2)
    hairs = 3 * (np.sin(np.arctan2(y - size[0] / 2, x - size[1] / 2) * 14) > 0)
    truth = (radius < 18 + hairs).astype(np.float32)
    rgb = truth[..., None] * np.array(person) + (1 - truth[..., None]) * np.array(wall)
    rgb = np.clip(rgb + rng.normal(0, noise, rgb.shape), 0, 1).astype(np.float32)
    mask = np.clip((19.5 - radius) / 5 + 0.5, 0, 1).astype(np.float32)
    return rgb, truth, mask


def used(coefficients, rgb):
    """Return alpha as engine.relighting.apply uses it."""
    raw = (coefficients[..., :3] * rgb).sum(-1) + coefficients[..., 3]
    return np.clip((raw - ALPHA_LOW) / ALPHA_RANGE, 0, 1)


def test_equals_reference():
    """The kernels give the coefficients of the plain formula."""
    rgb, _, mask = scene(noise=0.03)
    np.testing.assert_allclose(alpha_coefficients(rgb, mask), reference_coefficients(rgb, mask), atol=4e-3)


def test_finds_hairs_that_the_mask_blurs():
    """For dark hair before a bright wall alpha is several times nearer to the truth than the mask."""
    rgb, truth, mask = scene()
    error = np.abs(used(alpha_coefficients(rgb, mask), rgb) - truth).mean()
    assert error < 0.35 * np.abs(mask - truth).mean()


def test_separates_colours_of_equal_luma():
    """Red before green of equal luma is separated too, because colour decides and not brightness."""
    rgb, truth, mask = scene((0.6, 0.2, 0.3), (0.2, 0.32, 0.3))
    error = np.abs(used(alpha_coefficients(rgb, mask), rgb) - truth).mean()
    assert error < 0.6 * np.abs(mask - truth).mean()


def test_equal_colours_fall_back_to_the_mask():
    """Where person and wall look alike the mask decides; noise opens no holes in the person."""
    rgb, _, mask = scene((0.5, 0.5, 0.5), (0.51, 0.5, 0.5), noise=0.08)
    raw = alpha_at(alpha_coefficients(rgb, mask), rgb)
    assert np.abs(raw - mask).max() < 0.3
    assert raw[27:33, 37:43].min() > 0.95


def test_all_person_and_no_person():
    """A mask of ones is alpha 1 everywhere, a mask of zeros 0, with ratio 1."""
    rgb, _, mask = scene()
    for value in (0.0, 1.0):
        coefficients = alpha_coefficients(rgb, np.full_like(mask, value))
        np.testing.assert_allclose(alpha_at(coefficients, rgb), value, atol=1e-4)
        np.testing.assert_allclose(coefficients[..., 4:], 1, atol=1e-4)


def test_ratio_is_person_over_background():
    """At the border of dark hair before a bright wall the ratio is far below 1."""
    rgb, _, mask = scene()
    ratio = alpha_coefficients(rgb, mask)[30, 40 + 19, 4:]
    assert (ratio < 0.25).all()


def test_mean_within_ignores_the_wall():
    """The local brightness of the person does not take in the bright wall beside it."""
    rgb, truth, _ = scene()
    luma = mean_within(rgb, truth)
    assert luma[30, 40 + 16] < 0.05
