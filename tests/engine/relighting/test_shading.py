"""A cell's gain is the light of lcvd.lighting.lighting over the light already there, limited and floored."""

import numpy as np
import pytest

from engine.relighting.shading import (
    GAIN_CAP,
    GAIN_FLOOR,
    GAMMA_POWER,
    LEAK,
    SourceShade,
    Surface,
    shade,
    source_shade,
)
from engine.relighting.source_light import prior
from lcvd.lighting.colour import LUMA
from lcvd.lighting.lighting import pack, shading
from lcvd.lighting.sh import sh_from_directional
from lcvd.types import DirectionalLight, Lighting
from tests.engine.synthetic_person import directional_light

EVEN = np.array([1 / 0.2820948, 0, 0, 0, 0, 0, 0, 0, 0], np.float32)
NO_SHADOW = np.zeros((0, 12, 12), np.float32)


def ball(rim=0.0, skin=1.0, luma=0.3):
    y, x = np.mgrid[-1:1:12j, -1:1:12j] * 0.6
    normal = np.dstack([x, -y, np.sqrt(1 - x * x - y * y)]).astype(np.float32)
    layer = np.ones((12, 12), np.float32)
    return Surface(normal, rim * layer, skin * layer, luma * layer)


def linear(fields):
    return fields[:3] ** (1 / GAMMA_POWER)


@pytest.mark.parametrize(
    "lighting",
    [
        Lighting("ambient", (0.7, 0.7, 0.7)),
        Lighting("directional", (0.2,) * 3, (directional_light(-1, 0.5, 1, 0.8), directional_light(1, -0.2, 0.6, 0.3))),
        Lighting("sh", (0.1,) * 3, sh=sh_from_directional((0, 0.6, 0.8), (0.8, 0.8, 0.8))),
    ],
)
def test_gain_is_the_light_of_the_lighting_module(lighting):
    """In even source light, below the limits, the gain equals lcvd.lighting.lighting.shading."""
    surface = ball()
    gain = linear(shade(surface, source_shade(surface.normal, EVEN), pack(lighting), NO_SHADOW, 1.0))
    expected = np.maximum(shading(lighting, surface.normal), GAIN_FLOOR)
    np.testing.assert_allclose(gain, expected.transpose(2, 0, 1), rtol=0.03, atol=0.01)


def test_own_light_gives_back_the_picture():
    """A picture relit by the light it already has changes little."""
    c = prior()
    like = Lighting("like", (0.75,) * 3, sh=None)
    facing = ball().normal[..., 2]
    gain = linear(shade(ball(), source_shade(ball().normal, c), pack(like), NO_SHADOW, 1.0))[1]
    np.testing.assert_allclose(gain, 0.75 / (0.75 + 0.25 * facing), rtol=0.03)


def test_gain_is_limited_and_floored():
    """However strong or black the light, the gain stays within its limits."""
    strong = linear(shade(ball(), source_shade(ball().normal, EVEN), pack(Lighting("l", (50.0,) * 3)), NO_SHADOW, 1.0))
    black = linear(shade(ball(), source_shade(ball().normal, EVEN), pack(Lighting("l", (0.0,) * 3)), NO_SHADOW, 1.0))
    assert strong.max() <= GAIN_CAP + 0.02
    np.testing.assert_allclose(black, GAIN_FLOOR, rtol=0.01)


def test_limits_follow_confidence_and_noise():
    """Where the light in the picture is known, more is lifted; less of it where the camera is noisy."""
    dark = source_shade(ball().normal, 0.1 * EVEN)
    sure, light = SourceShade(dark.level, np.ones_like(dark.level)), pack(Lighting("l", (0.6,) * 3))
    unknown = linear(shade(ball(), dark, light, NO_SHADOW, 1.0)).mean()
    noisy = linear(shade(ball(), sure, light, NO_SHADOW, 1.0, noise=20.0)).mean()
    quiet = linear(shade(ball(), sure, light, NO_SHADOW, 1.0, noise=1.0)).mean()
    assert unknown < 0.8 * noisy < 0.8 * 0.8 * quiet
    assert quiet < 6  # what the light in the picture asks for


def test_an_environment_keeps_its_colour():
    """A red environment's colour is the picture's, but a lamp's goes to white in part."""
    red = np.array([1.2, 0.2, 0.2])
    sh = np.zeros((9, 3), np.float32)
    sh[0] = red / 0.2820948
    by_sh = linear(
        shade(ball(), source_shade(ball().normal, EVEN), pack(Lighting("l", (0.0,) * 3, sh=sh)), NO_SHADOW, 1)
    )
    lamp = pack(Lighting("l", tuple(red)))
    by_lamp = linear(shade(ball(), source_shade(ball().normal, EVEN), lamp, NO_SHADOW, 1))
    np.testing.assert_allclose(by_sh[:, 6, 6], red, rtol=0.03)
    assert by_lamp[1, 6, 6] == pytest.approx(0.2 + LEAK * (red @ LUMA - 0.2), rel=0.03)


def test_dark_source_does_not_divide_by_zero():
    """Where the source light is estimated as black or negative, the gain is finite and capped."""
    gain = shade(ball(), source_shade(ball().normal, -EVEN), pack(Lighting("l", (1.0,) * 3)), NO_SHADOW, 1.0)
    assert np.isfinite(gain).all()
    assert linear(gain).max() <= GAIN_CAP + 0.02


def test_amount_fades():
    """Amount 0 gives gain 1 and no specular term; amount 0.5 lies half-way."""
    light = pack(Lighting("l", (0.2,) * 3, (directional_light(0, 0, 1),), specular=1.0))
    none, half, full = (shade(ball(), source_shade(ball().normal, EVEN), light, NO_SHADOW, a) for a in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(none[:3], 1, atol=1e-6)
    assert not none[3:].any()
    np.testing.assert_allclose(half, (none + full) / 2, atol=1e-5)


def test_shadow_removes_its_own_light_only():
    """In full shadow of strength 1 only the ambient is left."""
    light = pack(Lighting("l", (0.3,) * 3, (directional_light(0, 0, 1, shadow=1.0),)))
    gain = linear(shade(ball(), source_shade(ball().normal, EVEN), light, np.ones((1, 12, 12), np.float32), 1.0))
    np.testing.assert_allclose(gain, 0.3, rtol=0.03)


def test_colour_survives_the_limit():
    """A strong red light is limited in brightness, and stays red as far as the leak allows."""
    red = DirectionalLight((0, 0, 1), (6.0, 0.0, 0.0), 0.2, 0.0)
    r, g, _ = linear(
        shade(ball(), source_shade(ball().normal, EVEN), pack(Lighting("l", (0.0,) * 3, (red,))), NO_SHADOW, 1.0)
    )[:, 6, 6]
    assert g / r == pytest.approx(LEAK / (LEAK + (1 - LEAK) / 0.2126), rel=0.1)


def test_light_from_behind_draws_the_rim():
    """A light behind the head adds a rim term at the contour on its own side, and none inside."""
    light = pack(Lighting("l", (0.2,) * 3, (directional_light(-1, 0, -1, 1.5),)))
    edge = shade(ball(rim=1.0, skin=0.0), source_shade(ball().normal, EVEN), light, NO_SHADOW, 1.0)
    inside = shade(ball(rim=0.0, skin=0.0), source_shade(ball().normal, EVEN), light, NO_SHADOW, 1.0)
    assert edge[3, 6, 0] > 0.2
    assert edge[3, 6, 0] > 3 * edge[3, 6, 11]
    assert inside[3].max() == 0


def test_dark_hair_gets_more_rim_per_brightness():
    """The rim term aims at a brightness, so dark hair gets a larger factor than fair hair."""
    light = pack(Lighting("l", (0.2,) * 3, (directional_light(-1, 0, -1, 1.5),)))
    dark = shade(ball(1.0, 0.0, luma=0.02), source_shade(ball().normal, EVEN), light, NO_SHADOW, 1.0)[3, 6, 0]
    fair = shade(ball(1.0, 0.0, luma=0.5), source_shade(ball().normal, EVEN), light, NO_SHADOW, 1.0)[3, 6, 0]
    assert dark > 5 * fair


def test_specular_only_on_skin():
    """The specular term of a light in front shows on skin and not on cloth."""
    light = pack(Lighting("l", (0.2,) * 3, (directional_light(0, 0, 1),), specular=1.0))
    assert shade(ball(skin=1.0), source_shade(ball().normal, EVEN), light, NO_SHADOW, 1.0)[3].max() > 0.1
    assert shade(ball(skin=0.0), source_shade(ball().normal, EVEN), light, NO_SHADOW, 1.0)[3].max() == 0


def test_the_rooms_colour_is_divided_out():
    """Relit by white light, what a blue room made blue loses it: gain times the room's colour is the white room's."""
    room = np.array([0.6, 1.0, 2.18], np.float32)
    room /= room @ LUMA.astype(np.float32)
    for light in (
        Lighting("ambient", (0.5,) * 3),
        Lighting("directional", (0.2,) * 3, (directional_light(-1, 0.5, 1, 0.6),)),
        Lighting("sh", (0.1,) * 3, sh=sh_from_directional((0, 0.6, 0.8), (0.5, 0.5, 0.5))),
    ):
        source = source_shade(ball().normal, EVEN)
        white = linear(shade(ball(), source, pack(light), NO_SHADOW, 1.0))
        blue = linear(shade(ball(), source, pack(light), NO_SHADOW, 1.0, room=room))
        free = white[1] > 0.2  # of the floor
        np.testing.assert_allclose((blue * room[:, None, None])[:, free], white[:, free], rtol=0.05)
