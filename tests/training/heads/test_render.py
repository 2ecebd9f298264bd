"""The fast renderer equals a slow one, and the head it draws has no holes."""

import cv2
import numpy as np
import pytest

from lcvd.face.geometry import picture_normals
from lcvd.face.raster import rasterize
from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.presets import PRESETS, preset
from lcvd.lighting.sh import irradiance_over_pi
from training.heads import head_clip
from training.heads.bust import Build, bust_of
from training.heads.clip import pose, random_person
from training.heads.light import random_lighting
from training.heads.pose import random_motion
from training.heads.render import INSIDE, SUPER, Posed, light_polynomial, render
from training.heads.shape import random_identity

SIZE = 40


def slow_render(
    posed: Posed, atlas: np.ndarray, lights: tuple, background: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Renders the same pictures in plain numpy, without culling."""
    size = len(background)
    raster = rasterize(posed.vertices_px * SUPER, posed.triangles, (SUPER * size, SUPER * size))
    pictures = np.zeros((2, SUPER * size, SUPER * size, 3))
    coverage = np.zeros((SUPER * size, SUPER * size))
    for r, c in zip(*np.nonzero(raster.triangle >= 0), strict=True):
        corners = posed.triangles[raster.triangle[r, c]]
        weights = raster.barycentric[r, c].astype(np.float64)
        normal = weights @ posed.normals[corners]
        occlusion = weights @ posed.occlusion[corners]
        if posed.two_sided[raster.triangle[r, c]] and normal[2] < 0:
            normal[2] = -normal[2]
            occlusion *= INSIDE
        normal /= max(np.linalg.norm(normal), 1e-6)
        u, v = weights @ posed.uv[corners]
        sample = cv2.getRectSubPix(atlas, (1, 1), (float(u), float(v)))[0, 0]
        for q, light in enumerate(lights):
            shade = np.maximum(irradiance_over_pi(sh_projection(light), normal.astype(np.float32)), 0)
            pictures[q, r, c] = sample * occlusion * shade
        coverage[r, c] = 1
    small = coverage.reshape(size, SUPER, size, SUPER).mean((1, 3))
    mean = pictures.reshape(2, size, SUPER, size, SUPER, 3).mean((2, 4))
    return mean + (1 - small)[..., None] * background, small


@pytest.mark.parametrize("seed", [1, 5])
def test_fast_and_slow_renderers_agree(seed: int) -> None:
    """Culling, Horner form and numba change nothing that can be seen; seed 1 wears long hair."""
    rng = np.random.default_rng(seed)
    person, motion = random_person(rng), random_motion(rng, 1)
    _, posed = pose(person, motion, 0, SIZE)
    lights = (random_lighting(rng), preset("neon").lighting)
    background = rng.random((SIZE, SIZE, 3), np.float32)
    fast, cover = render(posed, person.atlas, lights, background)
    slow, slow_cover = slow_render(posed, person.atlas, lights, background)
    # A sample on the outline of a back-facing triangle may fall either way.
    assert (np.abs(cover - slow_cover) > 1e-6).mean() < 0.005
    wrong = np.abs(fast - slow).max((0, 3)) > 0.01
    assert wrong.mean() < 0.01
    assert np.abs(fast - slow).mean() < 5e-4


@pytest.mark.parametrize("name", [p.name for p in PRESETS])
def test_polynomial_is_the_irradiance(name: str) -> None:
    """Ten numbers a channel shade as `irradiance_over_pi` does."""
    light = preset(name).lighting
    n = np.random.default_rng(0).standard_normal((200, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    x, y, z = n.T
    terms = np.column_stack((np.ones(200), x, y, z, x * y, y * z, x * z, x * x, y * y, z * z))
    expected = irradiance_over_pi(sh_projection(light), n.astype(np.float32))
    assert np.abs(terms @ light_polynomial(light) - expected).max() < 1e-5


def test_the_head_is_closed() -> None:
    """Face, eyes, mouth and skull share every edge twice, so there is no hole."""
    identity = random_identity(np.random.default_rng(2))
    bust = bust_of(identity, Build(volume_cm=1.0))
    head = max(bust.skull_triangles.max(), bust.mouth.stop - 1)
    triangles = bust.triangles[(bust.triangles <= head).all(1)]
    _, welded = np.unique(bust.rest.round(4), axis=0, return_inverse=True)
    triangles = welded.reshape(-1)[triangles]
    edges = np.sort(np.concatenate((triangles[:, :2], triangles[:, 1:], triangles[:, ::2])), axis=1)
    _, counts = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0, return_counts=True)
    assert (counts == 2).all()


def test_the_face_has_the_normals_of_its_hint() -> None:
    """Except at the outline, where the skull joins, and at the eyeballs, picture and hint shade the same normals."""
    rng = np.random.default_rng(4)
    face, posed = pose(random_person(rng), random_motion(rng, 1), 0, 128)
    mesh = face.mesh
    told = picture_normals(face.vertices_px, mesh.triangles)
    inside = np.setdiff1d(np.arange(len(told)), mesh.regions["face_oval"])
    assert np.abs(posed.normals[inside] - told[inside]).max() < 1e-5


def test_triangles_face_outward() -> None:
    """Culling keeps the near side: every normal of skull and trunk points away from the axis."""
    bust = bust_of(random_identity(np.random.default_rng(3)), Build())
    a, b, c = (bust.rest[bust.skull_triangles[:, k]] for k in range(3))
    outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - (0, 3.5, -4.5))
    assert (outward > 0).mean() > 0.98


def test_no_background_shows_through_short_haired_heads() -> None:
    """At every pose the mask of a head without hanging hair is one region without holes."""
    shown = 0
    for seed in range(10):
        if random_person(np.random.default_rng(np.random.SeedSequence(seed).spawn(7)[0])).bust.two_sided.any():
            continue
        shown += 1
        for mask in head_clip(seed, 6, 96).masks[::5]:
            room = (mask < 0.5).astype(np.uint8)
            count, _, stats, _ = cv2.connectedComponentsWithStats(room, connectivity=4)
            enclosed = [s for s in stats[1:count] if s[0] > 0 and s[1] > 0 and s[0] + s[2] < 96 and s[1] + s[3] < 96]
            # Under an ear lobe a pixel or two of room may really be seen.
            assert sum(int(s[4]) for s in enclosed) <= 3, seed
    assert shown >= 3
