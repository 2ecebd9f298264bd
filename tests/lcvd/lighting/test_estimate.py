"""Light estimation on spheres and faces drawn under known light, with noise, beards and highlights to mislead it."""

import functools

import numpy as np
import pytest

from lcvd.errors import LightError, ShapeError
from lcvd.face.geometry import face_mesh, picture_normals
from lcvd.face.raster import interpolate, rasterize
from lcvd.lighting.colour import LUMA, srgb_from_linear
from lcvd.lighting.estimate import default_prior, estimate_lighting, estimate_sh
from lcvd.lighting.lighting import luminance, shading, studio
from lcvd.lighting.presets import preset
from lcvd.lighting.sh import LAMBERT, sh_basis, sh_from_directional
from lcvd.lighting.skin_samples import skin_samples
from lcvd.types import DirectionalLight, Face, Lighting

FAIR, DARK = (0.60, 0.36, 0.27), (0.16, 0.09, 0.065)


def front_normals(n=800, seed=0):
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(8 * n, 3))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return v[v[:, 2] > 0.25][:n]


def known_light(direction=(-0.7, 0.3, 0.65), ambient=0.4, key=0.8):
    direction = np.array(direction) / np.linalg.norm(direction)
    c = key * sh_from_directional(direction, (1, 1, 1))[:, 0].astype(float) * LAMBERT
    c[0] += ambient * np.sqrt(4 * np.pi)
    return c


def relative_error(c, truth, n):
    a, b = sh_basis(n) @ c, sh_basis(n) @ truth
    return np.abs(a / np.median(a) - b / np.median(b)).max()


# ---- live: SH


@pytest.mark.parametrize("albedo", [0.7, 0.05])
def test_sh_recovers_a_known_light_on_any_skin(albedo):
    """Noisy samples of one albedo give back the light's shape, on fair and dark skin alike."""
    n = front_normals()
    truth = known_light()
    noise = np.random.default_rng(1).normal(1, 0.03, len(n))
    c = estimate_sh(albedo * np.maximum(sh_basis(n) @ truth, 0) * noise, n)
    assert c.shape == (9,)
    assert c.dtype == np.float32
    assert relative_error(c, truth, n) < 0.12


def test_sh_is_the_irradiance_domain_at_median_exposure():
    """sh_basis(n) @ c is the shade itself, 1 at the median sample, whatever the units."""
    n = front_normals()
    y = np.maximum(sh_basis(n) @ known_light(), 0)
    for unit in (1.0, 37.0):
        shade = sh_basis(n) @ estimate_sh(unit * y, n)
        assert np.median(shade) == pytest.approx(1, abs=0.03)


def test_sh_ignores_what_is_not_skin():
    """A sixth of dark hair and a tenth of highlights move the answer little; plain least squares goes astray."""
    n = front_normals()
    truth = known_light()
    y = np.maximum(sh_basis(n) @ truth, 0.02)
    bad = y.copy()
    what = np.random.default_rng(4).uniform(size=len(n))
    bad[(what < 0.3) & (n[:, 1] < 0)] *= 0.2
    bad[(what > 0.8) & (n[:, 0] < 0)] *= 2.5
    plain = np.linalg.lstsq(sh_basis(n), bad, rcond=None)[0]
    robust = relative_error(estimate_sh(bad, n), truth, n)
    assert robust < 0.3
    assert robust < 0.4 * relative_error(plain, truth, n)


def test_sh_weights_leave_samples_out():
    """Samples of weight zero have no say."""
    n = front_normals()
    y = np.maximum(sh_basis(n) @ known_light(), 0)
    broken = y.copy()
    broken[::3] = 9
    weights = np.ones(len(n))
    weights[::3] = 0
    keep = weights > 0
    np.testing.assert_allclose(estimate_sh(broken, n, weights), estimate_sh(y[keep], n[keep]), atol=1e-4)


def test_sh_falls_back_on_the_prior():
    """No samples, or black ones, give the prior; few and one-sided ones stay near it where nothing was seen."""
    prior = default_prior()
    np.testing.assert_allclose(estimate_sh(np.zeros(0), np.zeros((0, 3))), prior, atol=1e-6)
    np.testing.assert_allclose(estimate_sh(np.zeros(9), np.tile([0, 0, 1.0], (9, 1))), prior, atol=1e-6)
    last = known_light()
    np.testing.assert_allclose(estimate_sh(np.zeros(0), np.zeros((0, 3)), prior=last), last, atol=1e-6)
    n = front_normals(100)
    n = n[np.abs(n[:, 0]) < 0.1]
    shade = sh_basis(np.array([[-0.9, 0, 0.43], [0.9, 0, 0.43]])) @ estimate_sh(np.ones(len(n)), n)
    assert 0.5 < shade.min() <= shade.max() < 1.5


def test_sh_refuses_wrong_shapes():
    """Wrong shapes are ShapeErrors that print them."""
    with pytest.raises(ShapeError, match=r"\(4, 2\)"):
        estimate_sh(np.ones(4), np.ones((4, 2)))
    with pytest.raises(ShapeError, match="prior"):
        estimate_sh(np.ones(4), np.ones((4, 3)), prior=np.ones(4))
    with pytest.raises(ShapeError, match="weights"):
        estimate_sh(np.ones(4), np.ones((4, 3)), weights=np.ones(3))


# ---- photo: ambient + key


@functools.cache
def face(yaw_deg=0.0, pitch_deg=0.0, scale=14.0, centre=(150.0, 155.0)):
    mesh = face_mesh()
    y, p = np.radians([yaw_deg, pitch_deg])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rx = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    rotation = (ry @ rx).astype(np.float32)
    vertices = scale * mesh.neutral @ rotation.T * np.float32([1, -1, 1])
    vertices[:, :2] += np.float32(centre)
    still = np.zeros_like(mesh.neutral)
    at = np.float32([*centre, 0])
    return Face(0.0, mesh, vertices.astype(np.float32), rotation, at, scale, mesh.neutral, still, 1.0)


def photo(someone, light, albedo=FAIR, noise=3.0, beard=False, size=(310, 300)):
    raster = rasterize(someone.vertices_px, someone.mesh.triangles, size)
    normals = interpolate(raster, someone.mesh.triangles, picture_normals(someone.vertices_px, someone.mesh.triangles))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    linear = shading(light, normals) * np.float32(albedo)
    if beard:
        lips = someone.vertices_px[someone.mesh.regions["lips"], 1].mean()
        linear[int(lips) :] *= 0.3
    linear[raster.triangle < 0] = 0.1
    code = 255 * srgb_from_linear(linear) + np.random.default_rng(0).normal(0, noise, linear.shape)
    return np.clip(np.rint(code), 0, 255).astype(np.uint8)


def degrees_between(a, b):
    return float(np.degrees(np.arccos(np.clip(np.dot(a, b), -1, 1))))


@pytest.mark.parametrize("albedo", [FAIR, DARK])
@pytest.mark.parametrize(("azimuth", "elevation"), [(-50, 30), (50, 30), (0, 45), (80, 5), (0, -45)])
def test_key_direction_is_recovered(azimuth, elevation, albedo):
    """The copied key points within 8° of the photo's light, on fair and dark skin."""
    light = studio(azimuth, elevation, 0.8, softness=0.2, ambient=0.25)
    copied = estimate_lighting(photo(face(), light, albedo), face())
    assert degrees_between(copied.directionals[0].direction, light.directionals[0].direction) < 8


@pytest.mark.parametrize(
    "name", ["soft-front", "rembrandt-left", "split-right", "butterfly", "window-left", "overcast"]
)
def test_copied_light_reproduces_the_look(name):
    """Shade under the copied light follows the shade under the original within 10 % of the mean, contrast included."""
    someone = face(12, -6)
    light = preset(name).lighting
    copied = estimate_lighting(photo(someone, light), someone)
    n = skin_samples(photo(someone, light), someone).normals
    a, b = shading(light, n) @ LUMA, shading(copied, n) @ LUMA
    assert np.std(a / a.mean() - b / b.mean()) < 0.1


def test_turned_head_does_not_turn_the_light():
    """The light stays in the room when the head turns away from it."""
    light = studio(-45, 20, 0.8, softness=0.2, ambient=0.25)
    found = [estimate_lighting(photo(face(yaw), light), face(yaw)).directionals[0].direction for yaw in (-25, 0, 25)]
    assert all(degrees_between(d, light.directionals[0].direction) < 10 for d in found)


def test_beard_does_not_become_a_light_from_above():
    """A dark beard moves the key by less than 15°."""
    light = studio(40, 10, 0.8, softness=0.2, ambient=0.3)
    copied = estimate_lighting(photo(face(), light, beard=True), face())
    assert degrees_between(copied.directionals[0].direction, light.directionals[0].direction) < 15


def test_colour_of_the_lit_side_is_copied_and_skin_is_not():
    """An orange key in a blue room comes back orange and blue; white light comes back nearly white on any skin."""
    directional = DirectionalLight((-0.8, 0.0, 0.6), (1.5, 0.8, 0.3), 0.2)
    copied = estimate_lighting(photo(face(), Lighting("x", (0.12, 0.18, 0.35), (directional,)), noise=1), face())
    key, ambient = copied.directionals[0].rgb, copied.ambient_rgb
    assert key[0] > 1.5 * key[2]
    assert ambient[2] > 1.3 * ambient[0]
    for albedo in (FAIR, DARK):
        white = estimate_lighting(photo(face(), studio(-40, 20, 0.7), albedo, noise=1), face())
        r, _, b = white.directionals[0].rgb
        assert 0.8 < r / b < 1.25


def test_exposure_of_the_copy_is_ours():
    """Dark photo or bright photo, the copy shows a face at about 0.9."""
    for level in (0.25, 0.9):
        light = studio(-45, 25, level, ambient=0.3 * level)
        copied = estimate_lighting(photo(face(), light, noise=1), face())
        n = skin_samples(photo(face(), light, noise=1), face()).normals
        shade = shading(copied, n) @ LUMA
        assert 0.7 < shade.mean() < 1.0
        assert luminance(copied.ambient_rgb) > 0.03


def test_samples_are_bare_visible_skin():
    """No sample lies on lips, eyes or brows, none faces away, and their colour is the skin's."""
    someone = face(30)
    image = photo(someone, Lighting("flat", (0.8, 0.8, 0.8)), noise=0)
    paint = image.copy()
    for region in ("lips", "left_eye", "right_eye"):
        x, y = someone.vertices_px[someone.mesh.regions[region], :2].T
        paint[int(y.min()) : int(y.max()) + 1, int(x.min()) : int(x.max()) + 1] = (0, 255, 0)
    samples = skin_samples(paint, someone)
    assert 300 < len(samples.rgb) <= 1200
    assert samples.normals[:, 2].min() > 0.2
    np.testing.assert_allclose(np.linalg.norm(samples.normals, axis=1), 1, atol=1e-4)
    expected = 0.8 * np.array(FAIR)
    assert (np.abs(samples.rgb - expected).max(1) < 0.03).mean() > 0.9


def test_mask_narrows_the_samples():
    """A skin mask leaves out what it leaves out; a mask of another size is refused."""
    someone = face()
    image = photo(someone, studio(0, 0))
    mask = np.zeros(image.shape[:2], bool)
    mask[:, :150] = True
    half = len(skin_samples(image, someone, mask).rgb)
    assert 0 < half < 0.75 * len(skin_samples(image, someone, ~mask | mask).rgb) + 200
    with pytest.raises(ShapeError, match="skin_mask"):
        skin_samples(image, someone, mask[:10])


def test_samples_do_not_depend_on_the_size_of_the_photo():
    """A face four times as large, or partly outside the picture, gives the same light."""
    light = studio(-45, 25, 0.8, ambient=0.3)
    small = estimate_lighting(photo(face(), light), face())
    big_face = face(scale=56.0, centre=(600.0, 620.0))
    big = estimate_lighting(photo(big_face, light, size=(1240, 1200)), big_face)
    assert degrees_between(small.directionals[0].direction, big.directionals[0].direction) < 5
    outside = face(centre=(70.0, 155.0))
    cut = estimate_lighting(photo(outside, light), outside)
    assert degrees_between(cut.directionals[0].direction, light.directionals[0].direction) < 15


def test_hidden_or_burnt_face_is_a_clear_error():
    """Without 60 usable samples there is a LightError with a remedy, not a guess."""
    for image in (np.zeros((310, 300, 3), np.uint8), np.full((310, 300, 3), 255, np.uint8)):
        with pytest.raises(LightError, match="skin samples") as caught:
            estimate_lighting(image, face())
        assert "photo" in caught.value.hint
    with pytest.raises(ShapeError, match="uint8"):
        estimate_lighting(np.zeros((310, 300)), face())
