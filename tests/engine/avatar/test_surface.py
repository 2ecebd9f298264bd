"""The portrait is lit as a live face is: by its own surface and source light, which follow the head."""

from dataclasses import replace

import numpy as np
import pytest

from engine.avatar.engine import SIZE, AvatarEngine, cells
from engine.avatar.puppet import Puppet
from engine.avatar.surface import PortraitSurface
from engine.frames import Frame
from engine.protocols import Avatar, StreamConfig
from engine.ratio.engine import RatioEngine
from engine.relighting.grid import GRID
from engine.relighting.shading import shade
from engine.surface.network import WEIGHTS, SurfaceNetwork
from lcvd.face.neutral import centred_face
from lcvd.lighting.lighting import pack
from tests.engine.avatar.synthetic_portrait import (
    ScriptedDriver,
    avatar_stream,
    drawn_portrait,
    driver_frame,
    matte,
    turned,
)
from tests.engine.synthetic_person import LEFT, ORIGINAL, RIGHT, face_halves, person_mask

FACE = centred_face((SIZE, SIZE))
ALPHA = person_mask((SIZE, SIZE)).astype(np.float32)
CELLS = ALPHA.reshape(GRID, SIZE // GRID, GRID, SIZE // GRID).mean((1, 3))
NO_SHADOWS = np.zeros((0, GRID, GRID), np.float32)
NETWORK = pytest.param(SurfaceNetwork, marks=pytest.mark.skipif(not WEIGHTS.exists(), reason="no surface weights"))


def harshly_lit() -> np.ndarray:
    """Return the drawn portrait as under a window at the picture's right."""
    across = np.clip(np.linspace(-0.35, 1.35, SIZE), 0, 1)[None, :, None]
    return (drawn_portrait() * np.sqrt(0.15 + 0.85 * across)).astype(np.uint8)


def surface_of(rgb: np.ndarray) -> tuple[PortraitSurface, Puppet]:
    puppet = Puppet(FACE, SIZE)
    return PortraitSurface(rgb, FACE, ALPHA, puppet.head_share(cells()).reshape(GRID, GRID)), puppet


@pytest.mark.parametrize("make", [None, NETWORK])
@pytest.mark.parametrize("wanted", [LEFT, RIGHT])
def test_a_portrait_is_lit_as_a_live_face(make, wanted) -> None:
    """At rest the left and the right half of the face are as bright as the live engine makes them."""
    rgb = harshly_lit()
    avatar = AvatarEngine(ScriptedDriver, lambda: matte, make).open(StreamConfig(wanted, avatar=Avatar(rgb)))
    (shown,) = avatar.push(driver_frame(0))
    live = RatioEngine(ScriptedDriver, lambda: matte, make).open(StreamConfig(wanted))
    (expected,) = live.push(Frame(0, 0.0, avatar.reference.rgb))
    np.testing.assert_allclose(face_halves(shown.rgb), face_halves(expected.rgb), rtol=0.04)


def test_the_own_light_gives_the_portrait_back() -> None:
    """Under the light that was found in it, a harshly lit portrait has a gain of 1 on the person."""
    surface, puppet = surface_of(harshly_lit())
    moved = surface.moved(puppet.inverse_warp(FACE), FACE, CELLS)
    gain = shade(moved.surface, moved.source, pack(surface.light), NO_SHADOWS, 1.0)[:3] * moved.own
    np.testing.assert_allclose(gain[:, CELLS > 0.9], 1, atol=0.02)


def test_a_harsh_portrait_comes_back_at_strength_0() -> None:
    """At strength 0 a still driver shows the portrait, its dark half included."""
    avatar = AvatarEngine(ScriptedDriver, lambda: matte).open(StreamConfig(ORIGINAL, avatar=Avatar(harshly_lit())))
    (shown,) = avatar.push(driver_frame(0))
    assert np.abs(shown.rgb.astype(int) - avatar.reference.rgb).mean() < 1.5


def test_normals_turn_with_the_head_and_not_with_the_shoulders() -> None:
    """A head turned by 15° turns its normals by 15°, and shifts them; the shoulders' stay."""
    surface, puppet = surface_of(drawn_portrait())
    rest = surface.moved(puppet.inverse_warp(FACE), FACE, CELLS)
    face = turned(FACE, 15.0)
    moved = surface.moved(puppet.inverse_warp(face), face, CELLS)
    turn = face.rotation @ FACE.rotation.T
    for vertex in (4, 10, 50, 280):  # nose, forehead, cheeks
        x, y = (FACE.vertices_px[vertex, :2] / (SIZE / GRID)).astype(int)
        u, v = (face.vertices_px[vertex, :2] / (SIZE / GRID)).astype(int)
        np.testing.assert_allclose(moved.surface.normal[v, u], turn @ rest.surface.normal[y, x], atol=0.12)
    below = np.s_[-6:, GRID // 2 - 20 : GRID // 2 + 20]
    np.testing.assert_allclose(moved.surface.normal[below], rest.surface.normal[below], atol=0.05)


def test_depth_turns_with_the_head() -> None:
    """Of a head turned to the picture's right, the left cheek is nearer and the right one further than at rest."""
    surface, puppet = surface_of(drawn_portrait())
    rest = surface.moved(puppet.inverse_warp(FACE), FACE, CELLS)
    face = turned(FACE, 15.0)
    moved = surface.moved(puppet.inverse_warp(face), face, CELLS)
    for vertex, side in ((50, 1), (280, -1)):
        x, y = (FACE.vertices_px[vertex, :2] / (SIZE / GRID)).astype(int)
        u, v = (face.vertices_px[vertex, :2] / (SIZE / GRID)).astype(int)
        assert side * (moved.depth[v, u] - rest.depth[y, x]) > 0.02
    assert (moved.depth[CELLS < 0.1] < -5).all()


def test_a_turned_head_is_lit_anew() -> None:
    """A head that turns away from a lamp at the left gets darker on its forehead."""
    lamp = replace(LEFT, strength=1.0)
    brightness = []
    for yaw in (0.0, 15.0):
        stream = avatar_stream(lamp, lambda face, yaw=yaw: turned(face, yaw * (face.t_s > 0)))
        for index in range(3):
            work = stream.prepare(driver_frame(index))
            (shown,) = stream.render(work)
        x, y = work.payload.face.vertices_px[151, :2].astype(int)
        brightness.append(shown.rgb[y - 3 : y + 4, x - 3 : x + 4].mean())
    assert brightness[1] < 0.95 * brightness[0]
