"""The canonical face, normals and the similarity fit."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcvd.errors import ShapeError
from lcvd.face.geometry import face_mesh, mirror_pairs, picture_normals, similarity, vertex_normals


def rotation_from(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.linalg.det(q)


def normals_slow(vertices, triangles):
    """Area-weighted facet normals gathered vertex by vertex."""
    total = np.zeros((len(vertices), 3))
    for t in triangles:
        facet = np.cross(vertices[t[1]] - vertices[t[0]], vertices[t[2]] - vertices[t[0]])
        for v in t:
            total[v] += facet
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def test_the_mesh_is_a_disc_with_its_holes_filled():
    """468 vertices, 898 triangles, every inner edge shared by two: a surface with one rim and no holes."""
    mesh = face_mesh()
    assert mesh.neutral.shape == (468, 3)
    assert mesh.triangles.shape == (898, 3)
    edges = Counter(tuple(sorted(e)) for t in mesh.triangles.tolist() for e in itertools.combinations(t, 2))
    assert set(edges.values()) == {1, 2}
    assert len(mesh.neutral) - len(edges) + len(mesh.triangles) == 1  # Euler's number of a disc
    rim = {v for e, n in edges.items() if n == 1 for v in e}
    assert rim == set(mesh.regions["face_oval"].tolist())


def test_eyes_and_mouth_are_not_skin():
    """The triangles that are not skin are exactly those over the eyes and inside the lips."""
    mesh = face_mesh()
    holes = set(mesh.triangles[~mesh.skin_triangles].ravel().tolist())
    expected = {v for name in ("left_eye", "right_eye", "inner_lips") for v in mesh.regions[name].tolist()}
    assert holes == expected
    assert (~mesh.skin_triangles).sum() == 14 + 14 + 18


def test_every_triangle_is_wound_counter_clockwise_from_outside():
    """Neighbours walk their shared edge in opposite directions, and facets look away from the middle of the head."""
    mesh = face_mesh()
    directed = Counter((t[k], t[(k + 1) % 3]) for t in mesh.triangles.tolist() for k in range(3))
    assert set(directed.values()) == {1}
    a, b, c = (mesh.neutral[mesh.triangles[:, k]] for k in range(3))
    outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - (0, 0, -4))
    assert (outward[mesh.skin_triangles] > 0).mean() > 0.97  # nostrils and lids fold inward


def test_the_face_is_symmetric():
    """Mirroring x and exchanging the pairs gives the same face; pairing twice is nothing."""
    mesh, pairs = face_mesh(), mirror_pairs()
    np.testing.assert_array_equal(pairs[pairs], np.arange(468))
    np.testing.assert_allclose(mesh.neutral * (-1, 1, 1), mesh.neutral[pairs], atol=1e-5)
    assert set(pairs[mesh.regions["left_eye"]]) == set(mesh.regions["right_eye"])


def test_the_face_has_the_proportions_of_one():
    """Eyes 6.3 cm apart, a face of human size, a nose in front, lips closed, the person's left eye at +x."""
    mesh = face_mesh()
    v, r = mesh.neutral, mesh.regions
    eyes = [v[[33, 133]].mean(0), v[[263, 362]].mean(0)]
    assert np.linalg.norm(eyes[0] - eyes[1]) == pytest.approx(6.3, abs=0.01)
    assert 13 < np.ptp(v[:, 0]) < 16
    assert 15 < v[10, 1] - v[152, 1] < 20
    assert v[:, 2].argmax() in (1, 4)
    assert 2.0 < v[4, 2] - v[168, 2] < 3.5  # tip over root
    assert 1.3 < v[4, 2] - v[2, 2] < 2.6  # tip over base
    assert v[13, 1] - v[14, 1] < 0.1
    assert v[r["left_eye"], 0].min() > 0 > v[r["right_eye"], 0].max()
    assert v[r["left_brow"], 1].min() > v[r["left_eye"], 1].max()


def test_the_shared_mesh_cannot_be_written():
    """The topology is one for all, so its arrays refuse writing."""
    with pytest.raises(ValueError, match="read-only"):
        face_mesh().neutral[0] = 0


def test_normals_equal_their_slow_twin():
    """The compiled normals equal the sum over facets, written out."""
    mesh = face_mesh()
    fast = vertex_normals(mesh.neutral, mesh.triangles)
    np.testing.assert_allclose(fast, normals_slow(mesh.neutral.astype(float), mesh.triangles), atol=1e-4)


def test_normals_of_the_picture_point_to_the_viewer():
    """The nose tip of a frontal face in the picture (y down) looks at the viewer, the forehead's top upward."""
    mesh = face_mesh()
    picture = mesh.neutral * (10, -10, 10) + np.float32((320, 240, 0))
    normals = picture_normals(picture.astype(np.float32), mesh.triangles)
    assert normals[4, 2] > 0.8
    assert normals[10, 1] > 0.05
    assert normals[234, 0] < -0.5


def test_a_vertex_without_area_faces_the_viewer():
    """A degenerate triangle gives a finite normal."""
    normals = vertex_normals(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32))
    np.testing.assert_array_equal(normals, np.tile((0, 0, 1), (3, 1)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 50))
def test_the_similarity_is_found_exactly(seed, scale):
    """A cloud moved by a known similarity gives that similarity back."""
    rng = np.random.default_rng(seed)
    src, rotation, shift = rng.normal(size=(12, 3)), rotation_from(seed), rng.normal(size=3) * 5
    found = similarity(src, scale * src @ rotation.T + shift, rng.uniform(0.1, 2, 12))
    assert found.scale == pytest.approx(scale, rel=1e-4)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-4)
    np.testing.assert_allclose(found.translation, shift, atol=1e-3 * scale + 1e-4)


def test_the_similarity_minimises_the_weighted_error():
    """No small change of scale, rotation or shift makes the weighted error smaller."""
    rng = np.random.default_rng(7)
    src, dst, w = rng.normal(size=(20, 3)), rng.normal(size=(20, 3)), rng.uniform(0, 1, 20)
    best = similarity(src, dst, w)

    def error(scale, rotation, shift):
        return float(w @ ((dst - scale * src @ rotation.T - shift) ** 2).sum(1))

    base = error(*best)
    for seed in range(20):
        tilt = np.random.default_rng(seed).normal(0, 0.02, 3)
        turn = np.array([[1, -tilt[2], tilt[1]], [tilt[2], 1, -tilt[0]], [-tilt[1], tilt[0], 1]])
        turned, _ = np.linalg.qr(turn @ best.rotation)
        turned *= np.sign(np.einsum("ii->i", turned.T @ best.rotation))
        assert error(best.scale * (1 + tilt[0]), best.rotation, best.translation) > base - 1e-6
        assert error(best.scale, turned, best.translation) > base - 1e-6
        assert error(best.scale, best.rotation, best.translation + tilt) > base - 1e-6


def test_a_reflection_is_never_returned():
    """Mirrored points give a proper rotation."""
    src = np.random.default_rng(8).normal(size=(15, 3))
    assert np.linalg.det(similarity(src, src * (-1, 1, 1)).rotation) == pytest.approx(1, abs=1e-5)


def test_degenerate_sets_give_the_identity():
    """Coincident points, or no weight at all, do not divide by zero."""
    same = np.ones((5, 3))
    for found in (similarity(same, same), similarity(np.eye(3), np.eye(3), np.zeros(3))):
        assert found.scale == 1.0
        np.testing.assert_array_equal(found.rotation, np.eye(3))


def test_wrong_shapes_are_named():
    """Two clouds of different size are a ShapeError that prints both."""
    with pytest.raises(ShapeError, match=r"\[4, 3\]"):
        similarity(np.zeros((4, 3)), np.zeros((5, 3)))
    with pytest.raises(ShapeError, match="vertices"):
        vertex_normals(np.zeros((4, 2), np.float32), np.zeros((1, 3), np.int32))
