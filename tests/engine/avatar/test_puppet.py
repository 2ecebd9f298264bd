"""The puppet's mesh covers the picture without tears, and the inverse warp equals the rasteriser."""

from dataclasses import replace

import cv2
import numpy as np

from engine.avatar.motion import AvatarMotion
from engine.avatar.puppet import Puppet
from engine.avatar.warp import inverse_warp, remap
from lcvd.face.neutral import centred_face
from lcvd.face.raster import interpolate, rasterize
from tests.engine.avatar.synthetic_portrait import flipped_share, turned

REFERENCE = centred_face((512, 512))


def moved(yaw: float = 9.0):
    motion = AvatarMotion(REFERENCE)
    motion(REFERENCE)
    return motion(replace(turned(REFERENCE, yaw), t_s=0.1))


def test_inverse_warp_equals_the_rasteriser() -> None:
    """The spans give what rasterize and interpolate give, except at edges uv_map two triangles tie."""
    puppet = Puppet(REFERENCE, 512)
    face = moved()
    vertices, uv = puppet.vertices(face), puppet.uv(face)
    fast = inverse_warp(vertices, puppet.triangles, uv, 512)
    expected = interpolate(rasterize(vertices, puppet.triangles, (512, 512)), puppet.triangles, uv)
    gap = np.abs(fast - expected).max(-1)
    assert (gap > 0.02).mean() < 0.002
    assert np.median(gap) < 1e-3


def test_resting_puppet_is_the_identity() -> None:
    """At rest every pixel comes from its own position, and the net covers the picture without gaps."""
    uv_map = Puppet(REFERENCE, 512).inverse_warp(REFERENCE)
    y, x = np.mgrid[:512, :512] + 0.5
    assert np.abs(uv_map - np.dstack([x, y])).max() < 0.05


def test_outline_does_not_tear() -> None:
    """Neighbouring pixels beside the outline of a turned face come from neighbouring pixels of the portrait."""
    uv_map = Puppet(REFERENCE, 512).inverse_warp(moved(6.0))
    step = np.abs(np.diff(uv_map, axis=1)).max(-1)
    assert np.percentile(step, 99.9) < 4
    assert (step > 8).mean() < 0.0005


def test_shoulders_stay_while_the_head_turns() -> None:
    """A turn of the head leaves the bottom of the picture uv_map it is, to 3 px; the nose goes four times as far."""
    face = moved(12.0)
    uv_map = Puppet(REFERENCE, 512).inverse_warp(face)
    y, x = np.mgrid[480:512, :512] + 0.5
    assert np.abs(uv_map[480:] - np.dstack([x, y])).max() < 3
    assert face.vertices_px[1, 0] - REFERENCE.vertices_px[1, 0] > 12


def test_flipped_share_counts_area() -> None:
    """Turning over one of two equal triangles gives one half."""
    before = np.array([[0, 0], [2, 0], [0, 2], [4, 0], [4, 2]], np.float32)
    triangles = np.array([[0, 1, 2], [1, 3, 4]], np.int32)
    after = before.copy()
    after[2, 1] = -2
    assert flipped_share(before, after, triangles) == 0.5
    assert flipped_share(before, before, triangles) == 0


def test_remap_counts_from_corners() -> None:
    """The centre of the first pixel is (0.5, 0.5)."""
    picture = np.arange(12, dtype=np.float32).reshape(3, 4)
    uv_map = np.array([[[0.5, 0.5], [3.5, 2.5], [1.0, 0.5]]], np.float32)
    np.testing.assert_allclose(remap(picture, uv_map, cv2.BORDER_REPLICATE), [[0, 11, 0.5]])


def test_head_that_sinks_does_not_appear_twice() -> None:
    """A head that moves down shows nothing from above the portrait's first row, nor a mirror image of itself."""
    step = np.array([0, 60, 0], np.float32)
    sunk = replace(REFERENCE, vertices_px=REFERENCE.vertices_px + step, translation_px=REFERENCE.translation_px + step)
    uv_map = Puppet(REFERENCE, 512).inverse_warp(sunk)
    assert uv_map[..., 1].min() >= 0.5
    assert uv_map[:50, 200:300, 1].max() < 2
