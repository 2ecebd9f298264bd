"""Shade, projection, gliding, re-aiming and colour temperature, each against an independent derivation."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcvd.errors import LightError
from lcvd.lighting.lighting import (
    LUMA,
    adjust,
    background_terms,
    interpolate,
    key_index,
    luminance,
    pack,
    rgb_from_temperature_k,
    rotated,
    rotation_between,
    sh_projection,
    shading,
    studio,
    wrapped_cosine,
)
from lcvd.lighting.presets import PRESETS
from lcvd.lighting.sh import LAMBERT, sh_basis, sh_from_directional
from lcvd.types import Background, DirectionalLight, Lighting

RNG = np.random.default_rng(5)
NORMALS = RNG.normal(size=(400, 3))
NORMALS /= np.linalg.norm(NORMALS, axis=1, keepdims=True)
LIGHTS = {p.name: p.lighting for p in PRESETS}


def lights():
    return st.sampled_from(sorted(LIGHTS)).map(LIGHTS.__getitem__)


def rich(name="rich"):
    directional = DirectionalLight((0.6, 0.0, 0.8), (1.0, 0.5, 0.25), 0.4, 0.5)
    sh = sh_from_directional((0, 1, 0), (0.2, 0.3, 0.4))
    return Lighting(name, (0.1, 0.2, 0.3), (directional,), sh, 0.3, 0.8, Background("lit", 0.6))


def test_wrapped_cosine_is_the_blurred_clamped_cosine():
    """The closed form equals max(0, c) averaged over a window of ± wrap."""
    c = np.linspace(-1, 1, 41)
    for wrap in (0.1, 0.5, 1.0):
        window = np.linspace(-wrap, wrap, 4001)
        slow = np.maximum(c[:, None] + window, 0).mean(1)
        np.testing.assert_allclose(wrapped_cosine(c, wrap), slow, atol=1e-3)


def test_wrapped_cosine_follows_a_disc_of_light():
    """Up to a half-angle of 50° it stays within 0.05 of the exact irradiance of a disc of half-angle asin(wrap)."""
    for half_angle in (10, 30, 50):
        a = np.radians(half_angle)
        t, p = np.meshgrid((np.arange(200) + 0.5) / 200, (np.arange(200) + 0.5) / 200 * 2 * np.pi)
        z = 1 - t * (1 - np.cos(a))
        r = np.sqrt(1 - z * z)
        disc = np.stack([r * np.cos(p), r * np.sin(p), z], -1).reshape(-1, 3)
        tilt = np.radians(np.arange(0, 180, 10))
        normals = np.stack([np.sin(tilt), 0 * tilt, np.cos(tilt)], 1)
        exact = np.maximum(normals @ disc.T, 0).mean(1)
        exact /= exact[0]
        np.testing.assert_allclose(wrapped_cosine(np.cos(tilt), np.sin(a)), exact, atol=0.05)


def test_wrap_leaves_the_exposure_of_a_facing_surface():
    """Whatever the softness, a facing surface shows the light's own colour."""
    for wrap in (0.0, 0.3, 1.0):
        directional = DirectionalLight((0, 0, 1), (0.9, 0.8, 0.7), wrap)
        np.testing.assert_allclose(
            shading(Lighting("x", (0, 0, 0), (directional,)), [0, 0, 1]), [0.9, 0.8, 0.7], rtol=1e-6
        )


def test_shading_adds_its_sources_and_stays_positive():
    """Ambient, directional lights and environment add up; order-2 ringing below zero is clamped."""
    light = rich()
    parts = [
        replace(light, directionals=(), sh=None),
        replace(light, ambient_rgb=(0, 0, 0), sh=None),
        replace(light, ambient_rgb=(0, 0, 0), directionals=()),
    ]
    front = NORMALS[NORMALS[:, 1] > 0]
    np.testing.assert_allclose(shading(light, front), sum(shading(p, front) for p in parts), atol=1e-5)
    dark = Lighting("x", (0, 0, 0), (), sh_from_directional((0, 0, 1), (5, 5, 5)))
    assert shading(dark, NORMALS).min() == 0


@pytest.mark.parametrize("name", sorted(LIGHTS))
def test_projection_is_the_least_squares_fit(name):
    """The closed-form SH projection equals a least-squares fit of the shade on a dense sphere."""
    light = LIGHTS[name]
    i = np.arange(20000) + 0.5
    z, phi = 1 - 2 * i / 20000, np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    n = np.stack([r * np.cos(phi), r * np.sin(phi), z], 1)
    fit = np.linalg.lstsq(sh_basis(n), shading(light, n).astype(float), rcond=None)[0]
    np.testing.assert_allclose(sh_projection(light) * LAMBERT[:, None], fit, atol=2e-3)


def test_projection_passes_the_environment_through():
    """The environment's own coefficients come out unchanged."""
    sh = RNG.normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_allclose(sh_projection(Lighting("x", (0, 0, 0), (), sh)), sh, atol=1e-6)


def test_pack_carries_everything():
    """The packed arrays shade like the light itself."""
    light = rich()
    p = pack(light)
    directionals = wrapped_cosine(NORMALS @ p.directions.T, p.wraps) @ p.rgbs
    total = p.ambient + directionals + sh_basis(NORMALS) @ p.sh_irradiance
    np.testing.assert_allclose(np.maximum(total, 0), shading(light, NORMALS), atol=1e-5)
    assert p.count == 1
    assert all(a.dtype == np.float32 for a in (p.ambient, p.directions, p.rgbs, p.wraps, p.shadows, p.sh))


# ---- gliding


@settings(max_examples=60, deadline=None)
@given(lights(), lights())
def test_transition_starts_and_ends_exactly(a, b):
    """u = 0 is the first light itself and u = 1 the second."""
    assert interpolate(a, b, 0.0) is a
    assert interpolate(a, b, 1.0) is b
    assert interpolate(a, b, -1) is a
    assert interpolate(a, b, 2) is b


def visible(light, shade_of_background=0.8):
    """The light's effect on a picture: strength-weighted gain of the person and of the background."""
    constant, lit = background_terms(light.background)
    person = light.strength * shading(light, NORMALS[:60]) + (1 - light.strength)
    background = light.strength * (constant + lit * shade_of_background) + (1 - light.strength)
    return np.append(person.ravel(), background)


@settings(max_examples=60, deadline=None)
@given(lights(), lights(), st.sampled_from([("keep", 1.0), ("dim", 0.4), ("lit", 0.9)]))
def test_transition_never_jumps(a, b, background):
    """Halving the step about halves the largest change of any visible gain: a jump would not shrink."""
    b = replace(b, background=Background(*background))

    def largest_change(steps):
        states = [visible(interpolate(a, b, i / steps)) for i in range(steps + 1)]
        return max(np.abs(y - x).max() for x, y in pairwise(states))

    coarse = largest_change(40)
    assert coarse < 0.2
    assert largest_change(80) < 0.6 * coarse + 0.004


@settings(max_examples=60, deadline=None)
@given(lights(), lights(), st.floats(0, 1))
def test_transition_is_always_a_legal_light(a, b, u):
    """At most four directional lights, unit directions, values in range, at every moment."""
    light = interpolate(a, b, u)
    assert len(light.directionals) <= 4
    for directional in light.directionals:
        assert np.linalg.norm(directional.direction) == pytest.approx(1, abs=1e-6)
        assert min(directional.rgb) >= 0
        assert 0 <= directional.wrap <= 1
        assert 0 <= directional.shadow <= 1
    assert 0 <= light.strength <= 1
    assert 0.3 <= light.background.gain <= 1


def test_transition_left_to_right_passes_in_front():
    """A key going from the left to the right stays in front of the face and does not sink below it."""
    for pair in (("split-left", "split-right"), ("rembrandt-left", "rembrandt-right")):
        a, b = (LIGHTS[name] for name in pair)
        path = [
            light.directionals[key_index(light)].direction for light in (interpolate(a, b, i / 20) for i in range(21))
        ]
        assert min(d[2] for d in path) > -0.01, pair
        assert min(d[1] for d in path) > -0.01, pair
        xs = [d[0] for d in path]
        assert xs == sorted(xs), pair


def test_transition_between_opposite_lights_passes_over_the_camera():
    """Exactly opposite lights have no shortest way: they go by the front."""
    left = Lighting("l", (0, 0, 0), (DirectionalLight((-1, 0, 0), (1, 1, 1)),))
    right = Lighting("r", (0, 0, 0), (DirectionalLight((1, 0, 0), (1, 1, 1)),))
    middle = interpolate(left, right, 0.5).directionals[0].direction
    assert middle[2] > 0.9
    assert middle[1] > 0


def test_transition_from_original_only_fades_in():
    """From original the new directional lights keep their directions and only the strength rises."""
    target = LIGHTS["neon"]
    light = interpolate(LIGHTS["original"], target, 0.25)
    assert light.strength == pytest.approx(0.25)
    assert [d.direction for d in light.directionals] == [d.direction for d in target.directionals]
    assert light.background == target.background
    back = interpolate(target, LIGHTS["original"], 0.75)
    np.testing.assert_allclose(shading(back, NORMALS), shading(target, NORMALS), atol=1e-6)


def test_transition_mixes_environments():
    """An environment fades in from nothing."""
    light = interpolate(replace(rich(), sh=None), rich(), 0.5)
    np.testing.assert_allclose(light.sh, 0.5 * rich().sh, atol=1e-6)


def test_background_terms_mean_what_the_modes_say():
    """keep changes nothing, dim multiplies, lit follows the shade."""
    assert background_terms(Background("keep", 0.4)) == (1.0, 0.0)
    assert background_terms(Background("dim", 0.4)) == (0.4, 0.0)
    assert background_terms(Background("lit", 0.4)) == (0.0, 0.4)


# ---- re-aiming


def test_rotated_light_shades_turned_normals_alike():
    """A turned light shows at R n what the light showed at n."""
    r = rotation_between((0, 0, 1), np.array([0.6, 0.48, 0.64]))
    np.testing.assert_allclose(shading(rotated(rich(), r), NORMALS @ r.T), shading(rich(), NORMALS), atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_rotation_between_maps_start_to_end(seed, opposite):
    """R start = end, R is a rotation, also for opposite vectors."""
    a, b = np.random.default_rng(seed).normal(size=(2, 3))
    a /= np.linalg.norm(a)
    b = -a if opposite else b / np.linalg.norm(b)
    r = rotation_between(a, b)
    np.testing.assert_allclose(r @ a, b, atol=1e-6)
    np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(r) == pytest.approx(1, abs=1e-6)


def test_adjust_sends_the_key_where_asked_and_turns_the_rest():
    """The key lands on the direction (of any length) and angles between lights are kept."""
    light = LIGHTS["three-point"]
    aimed = adjust(light, direction=(3, 0, 4))
    key = key_index(light)
    np.testing.assert_allclose(aimed.directionals[key].direction, (0.6, 0, 0.8), atol=1e-6)

    def gram(x):
        return np.array([d.direction for d in x.directionals]) @ np.array([d.direction for d in x.directionals]).T

    np.testing.assert_allclose(gram(aimed), gram(light), atol=1e-6)


def test_adjust_intensity_multiplies_the_shade():
    """Twice the intensity is twice the shade everywhere."""
    np.testing.assert_allclose(shading(adjust(rich(), intensity=2), NORMALS), 2 * shading(rich(), NORMALS), rtol=1e-5)


def test_adjust_temperature_tints_and_keeps_luminance_of_neutral_light():
    """3000 K is redder at equal luminance; 6500 K changes nothing."""
    white = studio(0, 0)
    warm = adjust(white, temperature_k=3000)
    rgb = np.array(warm.directionals[0].rgb)
    assert rgb[0] > rgb[1] > rgb[2]
    assert luminance(rgb) == pytest.approx(luminance(white.directionals[0].rgb))
    same = adjust(rich(), temperature_k=6500, intensity=1)
    np.testing.assert_array_equal(shading(same, NORMALS), shading(rich(), NORMALS))


def test_adjust_softness_is_the_wrap_of_the_key_alone():
    """Softness lands in the key's wrap; the others keep theirs."""
    light = LIGHTS["three-point"]
    soft = adjust(light, softness=0.9)
    key = key_index(light)
    assert soft.directionals[key].wrap == 0.9
    assert [d for i, d in enumerate(soft.directionals) if i != key] == [
        d for i, d in enumerate(light.directionals) if i != key
    ]


def test_adjust_gives_a_light_without_directionals_a_key_of_the_same_exposure():
    """Aiming an ambient light makes a soft key out of it, as bright on a facing surface."""
    aimed = adjust(Lighting("sky", (0.8, 0.9, 1.0)), direction=(1, 0, 0))
    np.testing.assert_allclose(shading(aimed, [1, 0, 0]), [0.8, 0.9, 1.0], rtol=1e-5)
    environment = Lighting("env", (0, 0, 0), (), sh_from_directional((0, 1, 0), (1, 1, 1)))
    turned = adjust(environment, direction=(1, 0, 0))
    assert shading(turned, [1, 0, 0])[0] > 3 * shading(turned, [0, 1, 0])[0]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"direction": (0, 0, 0)}, "direction"),
        ({"direction": (np.nan, 0, 1)}, "direction"),
        ({"intensity": 3.5}, "intensity"),
        ({"intensity": float("nan")}, "intensity"),
        ({"temperature_k": 500}, "temperature_k"),
        ({"softness": -0.1}, "softness"),
    ],
)
def test_adjust_names_the_field_and_the_remedy(arguments, field):
    """An impossible value is a LightError naming the field, with the legal range as hint."""
    with pytest.raises(LightError, match=field) as caught:
        adjust(rich(), **arguments)
    assert caught.value.hint


def test_studio_angles_mean_what_they_say():
    """Azimuth +90 is the right of the picture, elevation +90 above, 0/0 the camera."""
    np.testing.assert_allclose(studio(90, 0).directionals[0].direction, (1, 0, 0), atol=1e-9)
    np.testing.assert_allclose(studio(0, 90).directionals[0].direction, (0, 1, 0), atol=1e-9)
    np.testing.assert_allclose(studio(0, 0).directionals[0].direction, (0, 0, 1), atol=1e-9)
    with pytest.raises(LightError, match="elevation"):
        studio(0, 120)


# ---- colour temperature


def planck_rgb(t):
    """Slow reference: Planck's law through the CIE 1931 observer (Wyman, Sloan and Shirley 2013, multi-lobe fit)."""
    wl = np.arange(360.0, 831.0)
    power = wl**-5 / np.expm1(1.438777e7 / (wl * t))

    def lobe(x, mean, low, high):
        return np.exp(-0.5 * ((x - mean) * np.where(x < mean, low, high)) ** 2)

    x = 1.056 * lobe(wl, 599.8, 1 / 37.9, 1 / 31.0) + 0.362 * lobe(wl, 442.0, 1 / 16.0, 1 / 26.7)
    x -= 0.065 * lobe(wl, 501.1, 1 / 20.4, 1 / 26.2)
    y = 0.821 * lobe(wl, 568.8, 1 / 46.9, 1 / 40.5) + 0.286 * lobe(wl, 530.9, 1 / 16.3, 1 / 31.1)
    z = 1.217 * lobe(wl, 437.0, 1 / 11.8, 1 / 36.0) + 0.681 * lobe(wl, 459.0, 1 / 26.0, 1 / 13.8)
    xyz = np.array([x, y, z]) @ power
    m = np.array(
        [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
    )
    return m @ xyz


@pytest.mark.parametrize("kelvin", [2000, 2300, 2900, 4000, 5600, 7200, 9000, 12000])
def test_temperature_follows_planck(kelvin):
    """The cubic fit agrees with Planck's law integrated over the observer."""
    slow = planck_rgb(kelvin) / planck_rgb(6500)
    slow = np.maximum(slow, 0) / (np.maximum(slow, 0) @ LUMA)
    np.testing.assert_allclose(rgb_from_temperature_k(kelvin), slow, atol=0.05)


def test_temperature_is_relative_to_6500_and_keeps_luminance():
    """6500 K is white, every temperature has luminance 1, and warm is red, cold blue, without a kink."""
    np.testing.assert_allclose(rgb_from_temperature_k(6500), 1, atol=1e-12)
    ratios = [rgb_from_temperature_k(k) for k in range(1700, 20000, 100)]
    assert all(rgb @ LUMA == pytest.approx(1) for rgb in ratios)
    red_over_blue = [r[0] / max(r[2], 1e-3) for r in ratios]
    assert red_over_blue == sorted(red_over_blue, reverse=True)
    with pytest.raises(LightError, match="temperature_k"):
        rgb_from_temperature_k(900)
