"""The shadow march equals its reference, and a nose casts a shadow."""

import numpy as np
import pytest

from engine.relighting.shadow import (
    BACKGROUND_BELOW_FW,
    BIAS_FW,
    PENUMBRA_FW,
    REACH_FW,
    STEPS,
    _march,
    cast_shadow,
    cast_shadows,
)
from lcvd.lighting.lighting import pack
from lcvd.types import DirectionalLight, Lighting


def reference_march(depth, direction, cell_fw):
    """Return the shadow by visiting every step of every cell: height of the surface above the ray over the penumbra."""
    height, width = depth.shape
    lx, ly, lz = direction
    out = np.zeros_like(depth)
    for i in range(height):
        for j in range(width):
            if depth[i, j] < BACKGROUND_BELOW_FW:
                continue
            for k in range(1, STEPS + 1):
                share = k / STEPS
                t = REACH_FW * share**1.5
                x, y = j + t * lx / cell_fw, i - t * ly / cell_fw
                if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
                    break
                j0, i0 = int(x), int(y)
                j1, i1 = min(j0 + 1, width - 1), min(i0 + 1, height - 1)
                upper = depth[i0, j0] * (1 - x + j0) + depth[i0, j1] * (x - j0)
                lower = depth[i1, j0] * (1 - x + j0) + depth[i1, j1] * (x - j0)
                surface = upper * (1 - y + i0) + lower * (y - i0)
                above = surface - (depth[i, j] + BIAS_FW + t * lz)
                out[i, j] = max(out[i, j], min(above / (PENUMBRA_FW * (0.25 + 0.75 * share)), 1))
    return out


@pytest.mark.parametrize("direction", [(-0.8, 0.3, 0.52), (0.0, 0.77, 0.64), (0.6, -0.6, -0.53)])
def test_equals_reference(direction):
    """The march with early exits gives what the plain one gives."""
    rng = np.random.default_rng(1)
    depth = rng.normal(0, 0.1, (24, 31)).astype(np.float32)
    depth[:, :4] = -9
    out = np.empty_like(depth)
    x, y, z = (np.float32(a) for a in direction)
    _march(depth, x, y, z, np.float32(1 / 0.05), out)
    np.testing.assert_allclose(out, reference_march(depth, direction, 0.05), atol=2e-3)


def ridge():
    depth = np.zeros((40, 60), np.float32)
    depth[:, 28:32] = 0.2  # a nose: 0.2 face widths high
    return depth


def test_nose_shades_the_far_side():
    """A light on the left leaves the left of the nose lit and shades the right of it."""
    shadow = cast_shadow(ridge(), (-0.86, 0.0, 0.5), 0.03)
    assert shadow[20, 20] < 0.05
    assert shadow[20, 35] > 0.8
    assert shadow[20, 55] < 0.05


def test_frontal_light_casts_none():
    """A light at the camera casts no shadow that the camera could see."""
    assert cast_shadow(ridge(), (0.0, 0.0, 1.0), 0.03).max() < 1e-6


def test_flat_surface_casts_none():
    """A plane has no shadow even under grazing light, because of the bias."""
    assert cast_shadow(np.zeros((20, 20), np.float32), (-0.99, 0.0, 0.14), 0.03).max() < 1e-6


def test_only_lights_with_shadow_cast_one():
    """There are layers up to the last light that casts a shadow; those of other lights are 0."""
    lights = (
        DirectionalLight((0.0, 0.0, 1.0), (1, 1, 1), 0.2, 0.0),
        DirectionalLight((-0.86, 0.0, 0.51), (1, 1, 1), 0.2, 0.5),
        DirectionalLight((0.86, 0.0, 0.51), (1, 1, 1), 0.2, 0.0),
    )
    shadows = cast_shadows(ridge(), pack(Lighting("l", directionals=lights)), 0.03)
    assert shadows.shape == (2, 40, 60)
    assert shadows[0].max() == 0
    assert shadows[1].max() > 0.8
