"""Heads of a scanned kit: the file, true normals and light of every pixel, shadows, and pictures that repeat."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.heads.tiny_kit import CENTRE, RADII, write_kit
from training.errors import DataError
from training.heads.scanned.clip import scanned_clip, scanned_stills
from training.heads.scanned.facekit import FACE, FaceKit, load_facekit
from training.heads.scanned.parts import Part, Parts
from training.heads.scanned.render import posed, render, renders
from training.heads.scanned.room import Room, random_room
from training.heads.scanned.visibility import depth_maps, lit

SIZE, DISTANCE_CM, SCALE = 96, 1e4, 3.2  # far away: hardly any perspective


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> FaceKit:
    return load_facekit(write_kit(tmp_path_factory.mktemp("kit") / "facekit.npz"))


def lamp(*direction: float) -> Room:
    d = np.array([direction], np.float32) / np.linalg.norm(direction)
    return Room(d.astype(np.float32), np.ones((1, 3), np.float32), np.ones(1, np.float32))


def bare_head(kit: FaceKit):
    """Returns the kit's bare head in grey, and how the camera sees it."""
    parts = Parts()
    head = kit.neutral[FACE]
    used = kit.triangles[(kit.triangles < FACE.stop).all(1)]
    parts.add(head, used, np.full(3, 0.5), Part.SKIN)
    mesh = parts.mesh()
    return mesh, posed(mesh, mesh.rest, SIZE, SCALE * DISTANCE_CM, DISTANCE_CM, np.array([SIZE / 2, SIZE / 2]))


def ellipsoid(kit: FaceKit, room: Room):
    """Draws the kit's bare head, and returns the picture."""
    mesh, at = bare_head(kit)
    return render(mesh, at, room, np.zeros((SIZE, SIZE, 3), np.float32), exposed=False)


def true_normals() -> np.ndarray:
    """Returns the ellipsoid's normals as the camera sees them, [S,S,3]; NaN outside."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    x, y = (x - SIZE / 2) / SCALE - CENTRE[0], -(y - SIZE / 2) / SCALE - CENTRE[1]
    with np.errstate(invalid="ignore"):
        z = RADII[2] * np.sqrt(1 - (x / RADII[0]) ** 2 - (y / RADII[1]) ** 2)
    normal = np.stack([x / RADII[0] ** 2, y / RADII[1] ** 2, z / RADII[2] ** 2], -1)
    return normal / np.linalg.norm(normal, axis=2, keepdims=True)


def test_normals_and_light_are_those_of_an_ellipsoid(kit: FaceKit) -> None:
    """Inside the outline every normal is right to 2°, and a lamp gives the cosine to it."""
    picture = ellipsoid(kit, lamp(0.6, 0.3, 0.7))
    expected = true_normals()
    inside = (expected[..., 2] > 0.3) & (picture.coverage == 1)
    assert inside.sum() > 1000
    cosine = np.clip((picture.normal * expected).sum(2)[inside], -1, 1)
    assert np.degrees(np.arccos(cosine)).max() < 2
    facing = np.maximum(expected @ (np.array([0.6, 0.3, 0.7]) / np.linalg.norm((0.6, 0.3, 0.7))), 0)
    bright = inside & (facing > 0.3)
    np.testing.assert_allclose(picture.light[bright][:, 0], facing[bright], atol=0.03)
    np.testing.assert_allclose(picture.albedo[inside], 0.5, atol=1e-5)
    assert (picture.part[inside] == Part.SKIN).all()


def test_what_turns_away_from_the_lamp_is_dark(kit: FaceKit) -> None:
    """A lamp from the left leaves the right edge to what little comes back from the skin around."""
    light = ellipsoid(kit, lamp(-1, 0, 0.05)).light[..., 0]
    row = light[SIZE // 2 - 6]
    assert row[SIZE // 2 + 15] < 0.25 * row[SIZE // 2 - 15]


def test_rooms_that_share_shadows_are_each_as_alone(kit: FaceKit) -> None:
    """Two rooms with a direction in common, drawn together, are the pictures of each drawn alone."""
    side, above = lamp(-1, 0, 0.3), lamp(0, 1, 0)
    both = Room(
        np.concatenate([side.directions, above.directions]),
        np.array([(1, 0.5, 0.2), (0, 0.1, 1)], np.float32),
        np.ones(2, np.float32),
    )
    rooms = [side, both]
    mesh, at = bare_head(kit)
    black = np.zeros((SIZE, SIZE, 3), np.float32)
    for together, room in zip(renders(mesh, at, [(room, black) for room in rooms]), rooms, strict=True):
        alone = render(mesh, at, room, black)
        for found, expected in zip(together, alone, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_stills_show_one_person_in_several_rooms(kit: FaceKit) -> None:
    """The truth of the surface is the same in each, light and picture are not; a seed repeats them."""
    one, two = scanned_stills(kit, 3, 2, 96)
    np.testing.assert_array_equal(one.picture.normal, two.picture.normal)
    np.testing.assert_array_equal(one.picture.part, two.picture.part)
    seen = one.picture.coverage > 0.9
    assert np.abs(one.picture.light - two.picture.light)[seen].mean() > 0.02
    assert not np.array_equal(one.rgb, two.rgb)
    again = next(scanned_stills(kit, 3, 2, 96))
    np.testing.assert_array_equal(again.rgb, one.rgb)


def test_an_occluder_shades_what_lies_behind_it() -> None:
    """Behind a plate no light arrives, beside it all of it, on the plate itself all of it."""
    corners = np.array(
        [(-2, -2, 5), (2, -2, 5), (2, 2, 5), (-2, 2, 5), (-8, -8, 0), (8, -8, 0), (8, 8, 0), (-8, 8, 0)], float
    )
    triangles = np.array([(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)], np.int32)
    (depth,), (frame,) = depth_maps(corners, triangles, np.array([[0, 0, 1.0]]))
    assert lit(depth, frame, 0.0, 0.0, 0.0) == 0
    assert lit(depth, frame, 6.0, 0.0, 0.0) == 1
    assert lit(depth, frame, 0.5, 0.5, 5.0) == 1


def test_one_seed_is_one_picture(kit: FaceKit) -> None:
    """The same seed gives the same bytes, another one other bytes; a clip moves."""
    first, again = (scanned_clip(kit, 4, 2, 96) for _ in range(2))
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].rgb, first[1].rgb)
    assert not np.array_equal(scanned_clip(kit, 5, 1, 96)[0].rgb, first[0].rgb)
    assert np.isfinite(first[0].picture.light).all()
    seen = first[0].picture.coverage > 0.5
    np.testing.assert_allclose(np.linalg.norm(first[0].picture.normal[seen], axis=1), 1, atol=1e-3)
    assert (first[0].picture.normal[seen][:, 2] > -1e-3).all()


def test_rooms_bring_light_from_somewhere() -> None:
    """Every room has unit directions, light that is not negative, and at least one lamp."""
    for seed in range(20):
        room = random_room(np.random.default_rng(seed))
        np.testing.assert_allclose(np.linalg.norm(room.directions, axis=1), 1, atol=1e-4)
        assert (room.rgb >= 0).all()
        assert room.lamp.any()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all"])
def test_a_file_that_is_not_the_kit_is_told(tmp_path: Path, content: bytes) -> None:
    """The message names the option and the file, the hint the right one."""
    path = tmp_path / "kit.npz"
    path.write_bytes(content)
    for wrong in (path, tmp_path / "missing.npz", tmp_path):
        with pytest.raises(DataError, match="--facekit") as told:
            load_facekit(wrong)
        assert "ICT-FaceKit" in told.value.hint


def test_a_kit_without_an_array_says_which(tmp_path: Path) -> None:
    """The name of what is missing is in the message."""
    np.savez(tmp_path / "kit.npz", neutral=np.zeros((3, 3), np.float32))
    with pytest.raises(DataError, match="identity"):
        load_facekit(tmp_path / "kit.npz")
