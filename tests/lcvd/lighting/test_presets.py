"""The gallery: names a photographer knows, legal values, balanced exposure, sides where the name says."""

import re

import numpy as np
import pytest

from lcvd.errors import LightError
from lcvd.lighting.lighting import LUMA, key_index, rotated, shading
from lcvd.lighting.presets import PRESETS, preset

BY_NAME = {p.name: p for p in PRESETS}
LIT = [p for p in PRESETS if p.name != "original"]


def face_normals():
    """Normals of a frontal face: the front of a sphere, up to about 60° from the camera."""
    x, y = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))
    n = np.stack([x, y, np.sqrt(np.maximum(1 - x * x - y * y, 0))], -1)
    return n[x * x + y * y < 0.75]


def side(name, sign):
    n = face_normals()
    return float((shading(preset(name).lighting, n[sign * n[:, 0] > 0.3]) @ LUMA).mean())


def test_original_is_first_and_changes_nothing():
    """The gallery opens with original, at strength 0 on an untouched background."""
    first = PRESETS[0]
    assert first.name == "original"
    assert first.lighting.strength == 0
    assert first.lighting.background.mode == "keep"


def test_gallery_holds_the_classics():
    """Every light the product promises is there, and names are unique kebab-case."""
    promised = "original soft-front rembrandt-left rembrandt-right split-left split-right butterfly rim golden-hour "
    promised += "overcast window-left neon under-light three-point"
    assert set(promised.split()) <= set(BY_NAME)
    assert len(BY_NAME) == len(PRESETS) >= 15
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in BY_NAME)
    assert all(p.lighting.name == p.name and p.title and p.description.endswith(".") for p in PRESETS)


@pytest.mark.parametrize("entry", PRESETS, ids=lambda p: p.name)
def test_values_are_legal_on_the_wire(entry):
    """At most four lights of unit length, linear RGB 0 to 8, softness and shadow 0 to 1, background gain 0.3 to 1."""
    light = entry.lighting
    assert len(light.directionals) <= 4
    for directional in light.directionals:
        assert np.linalg.norm(directional.direction) == pytest.approx(1, abs=1e-6)
        assert min(directional.rgb) >= 0
        assert max(directional.rgb) <= 8
        assert 0 <= directional.wrap <= 1
        assert 0 <= directional.shadow <= 1
    assert 0.3 <= light.background.gain <= 1
    assert 0 <= light.specular <= 1


@pytest.mark.parametrize("entry", LIT, ids=lambda p: p.name)
def test_exposure_is_balanced(entry):
    """A lit side near normal exposure and a dark side that is not black, so switching never blinds or blacks out."""
    shade = shading(entry.lighting, face_normals()) @ LUMA
    # A cheek turned halfway from a hard key sees two thirds of this; the engine rolls off what would be too bright.
    assert 0.75 <= np.percentile(shade, 98) <= 1.75
    assert shade.min() >= 0.12
    assert 0.35 <= shade.mean() <= 1.05


def test_soft_front_is_the_neutral_reference():
    """Soft front exposes a facing surface at 1 and never strays far from it."""
    light = preset("soft-front").lighting
    assert shading(light, [0, 0, 1]) @ LUMA == pytest.approx(1, abs=0.08)
    shade = shading(light, face_normals()) @ LUMA
    assert shade.max() / shade.min() < 2.2


@pytest.mark.parametrize("kind", ["rembrandt", "split", "loop", "window"])
def test_left_is_the_left_of_the_picture(kind):
    """The left light lights the left of the picture, and right is its mirror image."""
    assert side(f"{kind}-left", -1) > 1.25 * side(f"{kind}-left", 1)
    mirror = np.diag([-1.0, 1, 1])
    n = face_normals()
    left, right = preset(f"{kind}-left").lighting, preset(f"{kind}-right").lighting
    np.testing.assert_allclose(shading(rotated(left, mirror), n), shading(right, n), atol=1e-6)


def test_characters_are_where_photographers_put_them():
    """Butterfly from above, under-light from below, rim from behind, split from the side, Rembrandt at 40° to 60°."""

    def key(name):
        light = preset(name).lighting
        return light.directionals[key_index(light)].direction

    assert key("butterfly")[1] > 0.6
    assert abs(key("butterfly")[0]) < 1e-6
    assert key("under-light")[1] < -0.5
    assert key("rim")[2] < -0.3
    assert 70 <= -np.degrees(np.arctan2(key("split-left")[0], key("split-left")[2])) <= 95
    x, y, z = key("rembrandt-left")
    assert 40 <= -np.degrees(np.arctan2(x, z)) <= 60
    assert 25 <= np.degrees(np.arcsin(y)) <= 50


def test_colours_are_what_the_names_say():
    """Golden hour and candle warm, moonlight cold, neon magenta on the left and cyan on the right."""
    n = face_normals()

    def tint(name, where):
        rgb = shading(preset(name).lighting, n[where(n)]).mean(0)
        return rgb / rgb.mean()

    right, left = (lambda n: n[:, 0] > 0.4), (lambda n: n[:, 0] < -0.4)
    assert tint("golden-hour", right)[0] > 1.2 > 0.8 > tint("golden-hour", right)[2]
    assert tint("candle", left)[0] > 1.4
    assert tint("moonlight", right)[2] > 1.15
    magenta, cyan = tint("neon", left), tint("neon", right)
    assert magenta[0] > 1.2 > 0.7 > magenta[1]
    assert cyan[2] > 1.2 > 0.7 > cyan[0]


def test_hard_keys_cast_shadows():
    """A small key in front of the face casts a shadow of 0.5 or more; a big one a weak one."""
    for entry in LIT:
        light = entry.lighting
        directional = light.directionals[key_index(light)]
        if directional.wrap <= 0.2 and directional.direction[2] > 0:
            assert directional.shadow >= 0.5, entry.name
        if directional.wrap >= 0.7:
            assert directional.shadow <= 0.4, entry.name


def test_unknown_name_lists_the_legal_ones():
    """A wrong name is a LightError whose hint names every preset."""
    with pytest.raises(LightError, match="rembrant") as caught:
        preset("rembrant")
    assert all(name in caught.value.hint for name in BY_NAME)
