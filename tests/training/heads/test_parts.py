"""The parts of a head: identities are symmetric, expressions move the right vertices, lights are plausible."""

import numpy as np

from lcvd.face.geometry import face_mesh, mirror_pairs, vertex_normals
from lcvd.lighting.colour import LUMA
from lcvd.lighting.directions import direction_from_angles
from lcvd.lighting.sh import irradiance_over_pi
from training.heads.background import random_background
from training.heads.expression import LIDS, LOWER_INNER, NAMES, UPPER_INNER, expression_basis, jaw_share
from training.heads.hair import random_hair
from training.heads.light import random_lighting
from training.heads.pose import PITCH_DEG, ROLL_DEG, YAW_DEG, random_motion
from training.heads.shape import random_identity
from training.heads.skin import random_skin


def test_identities_are_symmetric() -> None:
    """Mirroring a face gives the same face."""
    identity = random_identity(np.random.default_rng(0))
    assert np.array_equal((identity * np.array([-1, 1, 1], np.float32))[mirror_pairs()], identity)


def test_identities_stay_faces() -> None:
    """Over a hundred people no deformation turns the skin of a face inside out, and they do differ."""
    mesh = face_mesh()
    skin = mesh.triangles[mesh.skin_triangles]
    reference = vertex_normals(mesh.neutral, mesh.triangles)
    people = [random_identity(np.random.default_rng(seed)) for seed in range(100)]
    for shape in people:
        normals = vertex_normals(shape, mesh.triangles)
        turned = np.einsum("vk,vk->v", normals, reference)[np.unique(skin)]
        assert (turned > 0).mean() > 0.985
        assert np.quantile(turned, 0.05) > 0.7
    widths = [np.ptp(p[:, 0]) for p in people]
    assert max(widths) / min(widths) > 1.12


def test_jaw_parts_the_lips() -> None:
    """The lower lip and chin go with the jaw, the upper lip and nose stay."""
    identity = random_identity(np.random.default_rng(1))
    jaw = expression_basis(identity)[NAMES.index("jaw")]
    assert jaw[14, 1] < -1.0
    assert jaw[152, 1] < -1.0
    assert abs(jaw[13, 1]) < 0.1
    assert np.abs(jaw[4]).max() < 0.1
    share = jaw_share()
    assert share[list(LOWER_INNER)][2:7].min() > 0.9
    assert share[list(UPPER_INNER)][2:7].max() < 0.1


def test_blink_closes_the_lids() -> None:
    """At full strength 90 % of the opening is gone, and the lower lid did not move."""
    identity = random_identity(np.random.default_rng(2))
    blink = expression_basis(identity)[NAMES.index("blink")]
    for upper, lower in LIDS:
        before = identity[list(upper)] - identity[list(lower)]
        after = before + blink[list(upper)]
        assert np.abs(after[:, 1]).max() < 0.1 * np.abs(before[:, 1]).max()
        assert not blink[list(lower)].any()


def test_motion_stays_within_its_range() -> None:
    """Yaw, pitch and roll keep to ±30, ±15 and ±10 degrees, and some clips come near the ends."""
    seen = []
    for seed in range(80):
        r = random_motion(np.random.default_rng(seed), 16).rotation.astype(np.float64)
        yaw = np.degrees(np.arcsin(-r[:, 2, 0]))
        pitch = np.degrees(np.arctan2(r[:, 2, 1], r[:, 2, 2]))
        roll = np.degrees(np.arctan2(r[:, 1, 0], r[:, 0, 0]))
        seen.append([np.abs(v).max() for v in (yaw, pitch, roll)])
    most = np.max(seen, axis=0)
    assert (most <= np.array([YAW_DEG, PITCH_DEG, ROLL_DEG]) + 0.01).all()
    assert (most > 0.7 * np.array([YAW_DEG, PITCH_DEG, ROLL_DEG])).all()


def test_lights_are_plausible() -> None:
    """Shade is nowhere far below zero, faces are exposed, and lamps come from both sides and from above and below."""
    sphere = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    front = np.array([direction_from_angles(a, e) for a in (-60, 0, 60) for e in (-40, 0, 40)], np.float32)
    slopes = []
    for seed in range(100):
        sh = random_lighting(np.random.default_rng(seed)).sh
        assert sh is not None
        shade = irradiance_over_pi(sh, sphere) @ LUMA
        facing = irradiance_over_pi(sh, front) @ LUMA
        assert shade.min() > -0.12 * shade.max()
        assert 0.1 < facing.mean() < 1.1
        assert facing.max() < 1.7
        slopes.append(sh[[3, 1]] @ LUMA)
    x, y = np.array(slopes).T
    for v in (x, -x, y, -y):
        assert (v > 0.2).mean() > 0.15


def test_people_and_rooms_are_diverse() -> None:
    """Skin spans a factor of six in albedo; bald, long-haired and bearded heads occur; rooms differ in brightness."""
    skins = [random_skin(np.random.default_rng(seed)).tone @ LUMA for seed in range(100)]
    assert max(skins) > 6 * min(skins)
    hairs = [random_hair(np.random.default_rng(seed), np.full(3, 0.3, np.float32)) for seed in range(100)]
    for kind in (
        [h.bald for h in hairs],
        [h.hood_cm > 0 for h in hairs],
        [h.beard > 0.3 for h in hairs],
        [h.fringe_cm > 0 for h in hairs],
        [h.curl > 0.4 for h in hairs],
    ):
        assert 3 <= sum(kind) <= 70
    rooms = [random_background(np.random.default_rng(seed), 32) for seed in range(30)]
    assert all(np.isfinite(r).all() and r.min() >= 0 for r in rooms)
    assert np.std([r.mean() for r in rooms]) > 0.05
