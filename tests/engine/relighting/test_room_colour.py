"""The colour of a room's light is found on painted faces, pale and dark, and is steady."""

from dataclasses import replace

import numpy as np
import pytest

from engine.relighting.room_colour import MEMORY_S, RoomColour
from lcvd.face.geometry import face_mesh
from lcvd.face.neutral import centred_face
from lcvd.face.raster import rasterize
from lcvd.lighting.colour import LUMA, linear_from_srgb, srgb_from_linear
from lcvd.lighting.skin_colour import log_tint

SIZE = (240, 320)
SKINS = [linear_from_srgb(np.array(code, np.uint8)) for code in ((240, 224, 210), (160, 126, 86), (70, 50, 41))]
GREEN = np.array([0.5, 1.6, 0.6]) / (np.array([0.5, 1.6, 0.6]) @ LUMA)


def painted(linear, t_s=0.0):
    """Return a face of one colour, linear RGB [3], before a grey wall, as (rgb uint8 [H,W,3], Face)."""
    face = centred_face(SIZE, t_s)
    inside = rasterize(face.vertices_px, face.mesh.triangles, SIZE).triangle[..., None] >= 0
    return (255 * srgb_from_linear(np.where(inside, linear, 0.2)) + 0.5).astype(np.uint8), face


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("exposure", [0.4, 0.9])
def test_white_light_is_white(skin, exposure):
    """Pale, brown and dark skin in white light leave the picture as it is."""
    np.testing.assert_array_equal(RoomColour(face_mesh()).update(*painted(exposure * skin)), 1)


@pytest.mark.parametrize("skin", SKINS)
def test_green_light_is_green(skin):
    """A strong tint is found on every skin, and has luminance 1."""
    found = RoomColour(face_mesh()).update(*painted(0.7 * skin * GREEN))
    assert found @ LUMA == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(log_tint(found) - log_tint(GREEN)) < 0.6 * np.linalg.norm(log_tint(GREEN))
    assert found.argmax() == 1


def test_a_medical_mask_is_no_light():
    """Blue cloth over the lower third of a face does not make the room blue."""
    rgb, face = painted(SKINS[1])
    y = face.vertices_px[:, 1]
    rgb[int(y.min() + 0.67 * np.ptp(y)) :] = (70, 120, 200)
    np.testing.assert_array_equal(RoomColour(face_mesh()).update(rgb, face), 1)


def test_what_is_black_or_burnt_out_says_nothing():
    """Noise of a dark picture is no colour; where a channel is cut off there is no skin to see."""
    assert RoomColour(face_mesh()).update(*painted(0.002 * GREEN)) == pytest.approx(1)
    assert RoomColour(face_mesh()).update(*painted(np.array([1.2, 0.9, 0.9]))) == pytest.approx(1)


def test_it_follows_slowly():
    """A lamp that is switched on is followed by 1 − 1/e in MEMORY_S, and a held face says nothing."""
    colour = RoomColour(face_mesh())
    end = log_tint(RoomColour(face_mesh()).update(*painted(0.7 * SKINS[0] * GREEN)))
    colour.update(*painted(SKINS[0]))
    rgb, face = painted(0.7 * SKINS[0] * GREEN, MEMORY_S)
    np.testing.assert_array_equal(colour.update(rgb, replace(face, held=True)), 1)
    np.testing.assert_allclose(log_tint(colour.update(rgb, face)), (1 - np.exp(-1)) * end, atol=1e-6)
    colour.reset()
    np.testing.assert_array_equal(colour.rgb, 1)
