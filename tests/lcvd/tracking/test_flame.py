"""lcvd.tracking.flame against answers that can be worked out by hand, on a synthetic head, in float64."""

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.tracking.flame import JAW, JOINTS, NECK, ROOT, project, rodrigues
from lcvd.tracking.flame_files import load_flame, outer_loop
from tests.lcvd.tracking.synthetic_flame import PARENTS, RADII, raw_embedding, raw_masks, write_folder

NONE = np.zeros(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the synthetic FLAME files."""
    out = tmp_path_factory.mktemp("flame")
    write_folder(out)
    return out


@pytest.fixture(scope="module")
def flame(folder):
    """The synthetic head in double precision."""
    return load_flame(folder, np.float64)


def turn(axis: int, angle: float) -> np.ndarray:
    """Rotation about a coordinate axis, written out."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    out = np.eye(3)
    out[i, i] = out[j, j] = c
    out[j, i], out[i, j] = s, -s
    return out


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.7, -2.5, np.pi])
def test_rodrigues_about_an_axis(axis, angle):
    """A turn about a coordinate axis is the matrix of sines and cosines."""
    vector = np.zeros(3)
    vector[axis] = angle
    np.testing.assert_allclose(rodrigues(vector), turn(axis, angle), atol=1e-14)


def test_rodrigues_of_any_vector():
    """The matrix is a rotation that leaves its axis alone and turns by the vector's length."""
    vectors = np.random.default_rng(0).normal(0, 1, (20, 3))
    matrices = rodrigues(vectors)
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-14
    )
    np.testing.assert_allclose(np.einsum("nij,nj->ni", matrices, vectors), vectors, atol=1e-13)
    angle = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(np.trace(matrices, axis1=1, axis2=2), 1 + 2 * np.cos(angle), atol=1e-13)


def test_neutral_is_the_template(flame, folder):
    """All zeros give the template; the mesh is the same in centimetres."""
    np.testing.assert_allclose(flame.vertices(NONE, NONE, np.zeros(6)), flame.template, atol=1e-15)
    np.testing.assert_allclose(flame.mesh.neutral, 100 * flame.template, rtol=1e-6)
    assert flame.parents == PARENTS
    assert load_flame(folder).vertices(NONE, NONE, np.zeros(6)).dtype == np.float32


def test_blend_shapes_are_linear(flame):
    """Shapes and expressions add up, each times its coefficient, in FLAME's places 0… and 300…."""
    from tests.lcvd.tracking.synthetic_flame import raw_model

    rng = np.random.default_rng(1)
    shape, expression = rng.normal(0, 1, 100), rng.normal(0, 1, 50)
    basis = raw_model()["shapedirs"]
    wanted = flame.template + basis[:, :, :100] @ shape + basis[:, :, 300:350] @ expression
    np.testing.assert_allclose(flame.vertices(shape, expression, np.zeros(6)), wanted, atol=1e-13)
    half = flame.shaped(shape[:7], NONE) - flame.template
    np.testing.assert_allclose(flame.shaped(2 * shape[:7], NONE) - flame.template, 2 * half, atol=1e-13)


def test_head_turns_rigidly_about_the_root(flame):
    """A global pose turns the shaped head about the root joint, correctives and distances untouched."""
    rng = np.random.default_rng(2)
    shape, expression = rng.normal(0, 1, 100), rng.normal(0, 1, 50)
    pose = np.array([0.3, -0.9, 0.2, 0, 0, 0])
    shaped = flame.shaped(shape, expression)
    root = flame.joint_regressor[ROOT] @ shaped
    wanted = (shaped - root) @ rodrigues(pose[:3]).T + root
    np.testing.assert_allclose(flame.vertices(shape, expression, pose), wanted, atol=1e-13)


def test_one_joint_bends(flame):
    """A jaw turn moves a vertex of weight w by w of the jaw's turn about the jaw joint, plus the pose corrective."""
    angle = 0.4
    matrix = turn(0, angle)
    joint = flame.joint_regressor[JAW] @ flame.template
    feature = np.zeros(9 * (JOINTS - 1))
    feature[9 * (JAW - 1) : 9 * JAW] = (matrix - np.eye(3)).ravel()
    corrected = flame.template + flame.pose_basis @ feature
    turned = (corrected - joint) @ matrix.T + joint
    w = flame.weights[:, JAW, None]
    assert w.max() == 1
    assert (w == 0).any()
    wanted = w * turned + (1 - w) * corrected
    np.testing.assert_allclose(flame.vertices(NONE, NONE, [0, 0, 0, angle, 0, 0]), wanted, atol=1e-14)


def test_children_follow_their_parent(flame):
    """A neck turn carries jaw and eyes rigidly: only the root's share of the weights stays behind."""
    rotations = flame.rotations(np.zeros(6), neck=np.array([0, 0.5, 0]))
    matrix = turn(1, 0.5)
    joint = flame.joint_regressor[NECK] @ flame.template
    feature = np.zeros(9 * (JOINTS - 1))
    feature[:9] = (matrix - np.eye(3)).ravel()
    corrected = flame.template + flame.pose_basis @ feature
    w = flame.weights[:, ROOT, None]
    wanted = w * corrected + (1 - w) * ((corrected - joint) @ matrix.T + joint)
    np.testing.assert_allclose(flame.skin(flame.template, rotations), wanted, atol=1e-14)


def test_skinning_equals_its_slow_twin(flame):
    """Homogeneous 4×4 chains, one vertex at a time, give the same vertices for a pose of every joint."""
    rng = np.random.default_rng(3)
    rotations = rodrigues(rng.normal(0, 0.4, (JOINTS, 3)))
    shaped = flame.shaped(rng.normal(0, 1, 10), rng.normal(0, 1, 10))
    rest = flame.joint_regressor @ shaped
    world = []
    for j, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = rest[j] - (rest[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    feature = np.concatenate([(rotations[j] - np.eye(3)).ravel() for j in range(1, JOINTS)])
    wanted = np.zeros_like(shaped)
    for v in range(len(shaped)):
        point = shaped[v] + flame.pose_basis[v] @ feature
        for j in range(JOINTS):
            wanted[v] += flame.weights[v, j] * (world[j] @ np.append(point - rest[j], 1))[:3]
    np.testing.assert_allclose(flame.skin(shaped, rotations), wanted, atol=1e-13)


def test_landmarks_lie_on_their_triangles(flame):
    """Each fixed landmark is the barycentric mean of its triangle's corners."""
    vertices = flame.vertices(NONE, NONE, [0, 0.3, 0, 0, 0, 0])
    points = flame.full_landmarks(vertices)
    for k in (0, 30, 67):
        corners = vertices[flame.mesh.triangles[flame.embedding.full_triangles[k]]]
        np.testing.assert_allclose(points[k], flame.embedding.full_weights[k] @ corners, atol=1e-15)


@pytest.mark.parametrize(("yaw_deg", "row"), [(0, 0), (12.4, 12), (80, 39), (-1, 40), (-12.6, 52), (-80, 78)])
def test_contour_follows_the_yaw(flame, yaw_deg, row):
    """The contour's row is the yaw in whole degrees: 0…39 one way, 40…78 the other, clamped at both ends."""
    pose = np.array([0, np.radians(yaw_deg), 0, 0, 0, 0])
    vertices = flame.vertices(NONE, NONE, pose)
    e = flame.embedding
    wanted = flame.points(vertices, e.contour_triangles[row], e.contour_weights[row])
    got = flame.landmarks(vertices, pose)
    np.testing.assert_array_equal(got[:17], wanted)
    np.testing.assert_array_equal(got[17:], flame.points(vertices, e.inner_triangles, e.inner_weights))


def test_projection(flame):
    """DECA's camera: shift, scale, y down, z still to the viewer."""
    point = np.array([[0.1, 0.2, 0.3]])
    np.testing.assert_allclose(project(point, np.array([5, 0.02, -0.05])), [[5 * 0.12, -5 * 0.15, 1.5]])


def test_mesh_follows_the_masks(flame, folder):
    """The skin is the face mask's triangles: no eyes, its rim is the outer border; regions are FLAME's and lcvd's."""
    masks = raw_masks(flame.template)
    inside = np.isin(flame.mesh.triangles, masks["face"]).all(1)
    np.testing.assert_array_equal(flame.mesh.skin_triangles, inside)
    assert 100 < inside.sum() < len(inside) / 2
    skin = set(flame.mesh.triangles[inside].ravel())
    assert not skin & set(masks["left_eyeball"])
    oval = flame.mesh.regions["face_oval"]
    assert set(oval) < skin
    # The holes of the eyes are borders too, and not part of the rim.
    assert np.ptp(flame.template[oval, 0]) > 0.9 * np.ptp(flame.template[list(skin), 0])
    near_eyes = np.hypot(np.abs(flame.template[oval, 0] / RADII[0]) - 0.4, flame.template[oval, 1] / RADII[1] - 0.3)
    assert near_eyes.min() > 0.25
    assert {"lips", "nose", "left_eye", "right_eye", "left_brow", "right_brow", "face_oval"} <= set(flame.mesh.regions)
    assert flame.mesh.name == f"flame-{len(flame.template)}"


def test_outer_loop_of_a_ring():
    """The outer of a square ring's two borders is the longer one."""
    x, y = np.meshgrid(np.arange(4.0), np.arange(4.0))
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(16)], 1)
    triangles = []
    for i in range(3):
        for j in range(3):
            if (i, j) != (1, 1):
                a = 4 * i + j
                triangles += [[a, a + 1, a + 5], [a, a + 5, a + 4]]
    assert outer_loop(vertices, np.array(triangles, np.int32)).tolist() == [0, 1, 2, 3, 4, 7, 8, 11, 12, 13, 14, 15]


def test_authors_triangle_list_decides(folder, flame):
    """FLAME_masks_face-id.pkl and head_template.obj, where they lie there, decide triangles and skin."""
    import pickle

    chosen = np.array([5, 7, 11])
    extra = [folder / "FLAME_masks_face-id.pkl", folder / "head_template.obj"]
    reversed_faces = flame.mesh.triangles[::-1] + 1
    extra[0].write_bytes(pickle.dumps({"face": chosen}))
    extra[1].write_text("v 0 0 0\n" + "".join(f"f {a}/1/1 {b}/2 {c}\n" for a, b, c in reversed_faces))
    try:
        mesh = load_flame(folder).mesh
        np.testing.assert_array_equal(mesh.triangles, reversed_faces - 1)
        np.testing.assert_array_equal(np.flatnonzero(mesh.skin_triangles), chosen)
        extra[1].write_text("f 1 2 999999\n")
        with pytest.raises(ModelUnavailable, match=r"head_template.obj.*points to"):
            load_flame(folder)
    finally:
        for path in extra:
            path.unlink()


def test_missing_files_are_all_named(tmp_path):
    """Every absent file is named with the place it comes from."""
    with pytest.raises(ModelUnavailable, match=r"generic_model.pkl, landmark_embedding.npy, FLAME_masks.pkl") as error:
        load_flame(tmp_path)
    assert "flame.is.tue.mpg.de" in error.value.hint
    assert "licence" in error.value.hint
    with pytest.raises(ModelUnavailable, match="not a directory"):
        load_flame(tmp_path / "absent")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"f": None}, "'f' is missing"),
        ({"v_template": np.zeros((9, 2))}, r"'v_template' has shape 9×2"),
        ({"weights": np.zeros((4, 5))}, r"'weights' has shape 4×5"),
        ({"shapedirs": "text"}, "not numbers"),
        ({"posedirs": np.zeros((506, 3, 207))}, "posedirs"),
        ({"f": np.array([[0, 1, 9999]])}, "points to 0…9999 of 506"),
        ({"kintree_table": np.array([[0, 3, 1, 1, 1], range(5)])}, "parents"),
        ({"J_regressor": np.full((5, 506), np.nan)}, "not finite"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, change, match):
    """An array that is missing, mis-shaped, of text, out of range or not finite is named."""
    import pickle

    raw = write_folder(tmp_path)
    raw = {key: value for key, value in (raw | change).items() if value is not None}
    (tmp_path / "generic_model.pkl").write_bytes(pickle.dumps(raw))
    with pytest.raises(ModelUnavailable, match=match):
        load_flame(tmp_path)


def test_wrong_embedding_and_masks_are_named(tmp_path):
    """The other two files are checked as strictly."""
    import pickle

    raw = write_folder(tmp_path)
    triangles = raw["f"].astype(int)
    embedding = raw_embedding(triangles, raw["v_template"]) | {"static_lmk_faces_idx": np.full(51, len(triangles))}
    np.save(tmp_path / "landmark_embedding.npy", embedding, allow_pickle=True)
    with pytest.raises(ModelUnavailable, match=r"landmark_embedding.npy.*static_lmk_faces_idx"):
        load_flame(tmp_path)
    np.save(tmp_path / "landmark_embedding.npy", raw_embedding(triangles, raw["v_template"]), allow_pickle=True)
    (tmp_path / "FLAME_masks.pkl").write_bytes(pickle.dumps({"neck": np.arange(3)}))
    with pytest.raises(ModelUnavailable, match="no region 'face'"):
        load_flame(tmp_path)


def test_wrong_arguments_are_named(flame):
    """Coefficients, poses and cameras of the wrong length raise ShapeError."""
    with pytest.raises(ShapeError, match="101"):
        flame.shaped(np.zeros(101), NONE)
    with pytest.raises(ShapeError, match="pose"):
        flame.vertices(NONE, NONE, np.zeros(5))
    with pytest.raises(ShapeError, match="camera"):
        project(np.zeros((2, 3)), np.zeros(2))
