"""LCVD's hint: grey skin under the light, black elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from lcvd.errors import ShapeError
from lcvd.face.geometry import face_mesh, picture_normals
from lcvd.face.neutral import centred_face
from lcvd.face.raster import rasterize
from lcvd.hints import ALBEDO, render_hints
from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.sh import irradiance_over_pi, sh_from_directional
from lcvd.types import DirectionalLight, Lighting

SIZE = (256, 256)
# MediaPipe's vertices of the inner lips, without the corners.
UPPER_INNER_LIP = [191, 80, 81, 82, 13, 312, 311, 310, 415]
LOWER_INNER_LIP = [95, 88, 178, 87, 14, 317, 402, 318, 324]
AMBIENT = Lighting("ambient", (1.0, 1.0, 1.0))


def lit(direction, rgb=(0.8, 0.8, 0.8)):
    return Lighting("side", (0.2, 0.2, 0.2), (DirectionalLight(direction, rgb, 0.2),))


def face(scale=2.0, size=SIZE, yaw_deg=0.0):
    """The neutral face, turned, in the middle of a frame."""
    base = centred_face(size, 0.0)
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    centre = base.translation_px
    return replace(base, vertices_px=((base.vertices_px - centre) @ turn.T * scale + centre).astype(np.float32))


def pixel(f, vertex):
    x, y = f.vertices_px[vertex, :2]
    return int(y), int(x)


def test_even_light_is_uniform_grey():
    """Under an even light of 1 the skin is 180 everywhere and the rest 0."""
    hints = render_hints(face(), AMBIENT, SIZE)
    assert hints.rgb.shape == (*SIZE, 3)
    assert set(np.unique(hints.rgb)) == {0, 180}
    np.testing.assert_array_equal(hints.mask, hints.rgb[..., 0] == 180)


def test_equals_the_irradiance_of_the_projection():
    """The hint at a drawn vertex is 180/255 of its SH irradiance: the rasterised picture against the formula."""
    light, f = lit((-0.6, 0.4, 0.69)), face()
    hints = render_hints(f, light, SIZE)
    normals = picture_normals(f.vertices_px, f.mesh.triangles)
    shade = 255 * ALBEDO * irradiance_over_pi(sh_projection(light), normals)[:, 0]
    errors = []
    for vertex in range(len(normals)):
        row, column = pixel(f, vertex)
        around = hints.mask[row - 1 : row + 2, column - 1 : column + 2]
        if around.all() and normals[vertex, 2] > 0.5:
            errors.append(abs(float(hints.rgb[row, column, 0]) - shade[vertex]))
    assert len(errors) > 150
    assert np.median(errors) < 4  # a vertex is up to half a pixel from the pixel's centre
    assert np.quantile(errors, 0.9) < 16


@pytest.mark.parametrize("region", ["left_eye", "right_eye", "inner_lips"])
def test_eyes_and_mouth_are_black(region):
    """Between the lids and, in an open mouth, between the lips there is nothing."""
    f = face()
    points = f.vertices_px.copy()
    points[UPPER_INNER_LIP, 1] -= 4  # open the mouth
    points[LOWER_INNER_LIP, 1] += 4
    f = replace(f, vertices_px=points)
    hints = render_hints(f, AMBIENT, SIZE)
    at = points[f.mesh.regions[region], :2]
    x, y = ((at.min(0) + at.max(0)) / 2).astype(int)
    assert not hints.mask[y, x]
    assert not hints.rgb[y, x].any()
    assert hints.mask[pixel(f, 4)]  # while the nose is there


def test_light_from_the_left_lights_the_left():
    """+x is right in the picture: a light at -x makes the left half brighter, and +y is up."""
    left = render_hints(face(), lit((-1.0, 0.0, 0.0)), SIZE).rgb.astype(int)
    assert left[:, :128].sum() > 1.5 * left[:, 128:].sum()
    f = face()
    forehead, chin = pixel(f, 151), pixel(f, 199)
    above = render_hints(f, lit((0.0, 1.0, 0.0)), SIZE).rgb
    assert above[forehead].mean() > above[chin].mean()


def test_colour_and_environment_show():
    """A red light and a blue environment give a red and a blue side."""
    light = Lighting(
        "two",
        (0, 0, 0),
        (DirectionalLight((-1.0, 0.0, 0.0), (1.0, 0, 0), 0.2),),
        sh_from_directional((1, 0, 0), (0, 0, 1)),
    )
    rgb = render_hints(face(), light, SIZE).rgb.astype(float)
    assert rgb[:, :110, 0].sum() > 3 * rgb[:, :110, 2].sum()
    assert rgb[:, 146:, 2].sum() > 3 * rgb[:, 146:, 0].sum()


def test_turned_face_hides_its_far_side():
    """At 60° of yaw nothing that faces away is drawn, and the mask is where the hint is."""
    f = face(yaw_deg=60)
    hints = render_hints(f, AMBIENT, SIZE)
    frontal = render_hints(face(), AMBIENT, SIZE)
    assert 0.3 * frontal.mask.sum() < hints.mask.sum() < 0.9 * frontal.mask.sum()
    assert not hints.rgb[~hints.mask].any()


def test_overexposed_light_clips():
    """A light of 5 gives white, not a wrapped byte."""
    hints = render_hints(face(), Lighting("strong", (5.0, 5.0, 5.0)), SIZE)
    assert set(np.unique(hints.rgb)) == {0, 255}


@pytest.mark.parametrize("shift", [(200, 0), (0, -150), (5000, 0)])
def test_face_partly_or_wholly_outside(shift):
    """Parts outside the frame are cut; a face outside leaves a black hint."""
    f = face()
    f = replace(f, vertices_px=f.vertices_px + np.array([*shift, 0], np.float32))
    hints = render_hints(f, AMBIENT, SIZE)
    assert hints.rgb.shape == (*SIZE, 3)
    assert hints.mask.sum() < render_hints(face(), AMBIENT, SIZE).mask.sum()
    assert (shift[0] == 5000) == (not hints.mask.any())


def test_impossible_size_is_refused():
    """A size of zero is named in the error."""
    with pytest.raises(ShapeError, match="0"):
        render_hints(face(), AMBIENT, (0, 10))


def test_skin_triangles_are_used():
    """The mesh has triangles that are not skin, so that the tests above mean something."""
    assert 0 < (~face_mesh().skin_triangles).sum() < 100


# DECA's way, for FLAME meshes


def in_deca_style(f):
    return replace(f, mesh=replace(f.mesh, hint_style="deca"))


def slow_deca(f, light, size):
    """DECA's renderer a pixel at a time: skin triangles alone, nearest wins, their own normals, not made unit again."""
    triangles = f.mesh.triangles[f.mesh.skin_triangles]
    points = f.vertices_px.astype(np.float64)
    upright = points * [1, -1, 1]
    vertex_normals = np.zeros_like(points)
    for t in triangles:
        a, b, c = upright[t]
        vertex_normals[t] += np.cross(b - a, c - a)
    vertex_normals /= np.maximum(np.linalg.norm(vertex_normals, axis=1, keepdims=True), 1e-12)
    normal, depth = np.zeros((*size, 3)), np.full(size, -np.inf)
    for t in triangles:
        (ax, ay, _), (bx, by, _), (cx, cy, _) = points[t]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        low, high = points[t, :2].min(0).astype(int), points[t, :2].max(0).astype(int) + 1
        if abs(area) < 1e-9:
            continue
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]] + 0.5
        u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        w = np.stack([u, v, 1 - u - v], -1)
        z = w @ points[t, 2]
        here = (slice(low[1], high[1]), slice(low[0], high[0]))
        nearer = (w >= 0).all(-1) & (z > depth[here])
        depth[here][nearer] = z[nearer]
        normal[here][nearer] = (w @ vertex_normals[t])[nearer]
    seen = (depth > -np.inf) & (normal[..., 2] > -0.15)
    shade = irradiance_over_pi(sh_projection(light), normal)
    rgb = np.clip(255 * (180 / 255) * shade, 0, 255).astype(np.uint8)
    return np.where(seen[..., None], rgb, 0), seen


@pytest.mark.parametrize("yaw_deg", [0.0, 50.0])
def test_deca_style_equals_the_slow_twin(yaw_deg):
    """A mesh marked deca is drawn as DECA's renderer draws, truncated to whole code values."""
    f, light = in_deca_style(face(yaw_deg=yaw_deg)), lit((-0.6, 0.4, 0.69))
    hints = render_hints(f, light, SIZE)
    rgb, seen = slow_deca(f, light, SIZE)
    assert (hints.mask != seen).mean() < 1e-3  # rounding on edges
    both = hints.mask & seen
    difference = np.abs(hints.rgb[both].astype(int) - rgb[both])
    assert np.quantile(difference, 0.99) <= 1


def test_deca_style_does_not_make_normals_unit():
    """Between vertices interpolated normals are short, so a uniform band-1 light shades a little darker than solid."""
    f, light = face(), Lighting("front", (0.0, 0.0, 0.0), sh=sh_from_directional((0, 0, 1), (0.8,) * 3))
    solid, deca = render_hints(f, light, SIZE), render_hints(in_deca_style(f), light, SIZE)
    both = solid.mask & deca.mask
    assert 0 < (solid.rgb[both].astype(float) - deca.rgb[both]).mean() < 6


def test_deca_style_keeps_what_turns_a_little_away():
    """Turned by 50°, pixels with a normal of -0.15 < z < 0 are drawn too."""
    f = face(yaw_deg=50)
    assert render_hints(in_deca_style(f), AMBIENT, SIZE).mask.sum() > render_hints(f, AMBIENT, SIZE).mask.sum()


def test_rasterizer_can_be_given():
    """The rasteriser that is passed draws, and the box of the face is all it is asked for."""
    asked = []

    def ours(vertices, triangles, size):
        asked.append(size)
        return rasterize(vertices, triangles, size)

    hints = render_hints(face(), AMBIENT, SIZE, ours)
    np.testing.assert_array_equal(hints.rgb, render_hints(face(), AMBIENT, SIZE).rgb)
    assert len(asked) == 1
    assert max(asked[0]) <= 256
