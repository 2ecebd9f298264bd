"""Scanned heads as training clips: one person under any two lights, eyes that turn, light that is what a hint shows."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.synthetic_face import SyntheticFace
from lcvd.errors import ShapeError
from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.presets import preset
from lcvd.lighting.sh import irradiance_over_pi
from lcvd.types import DirectionalLight, Face, Lighting
from tests.training.heads.tiny_kit import write_kit
from training.data.synthetic import HeadSource, SyntheticHeads
from training.errors import DataError
from training.heads import HeadClip
from training.heads.scanned.facekit import EYES, FaceKit, load_facekit
from training.heads.scanned.head import ATTEMPTS, scanned_head_clip
from training.heads.scanned.room import fibonacci, room_of

SIZE = 64
LEFT = Lighting("left", (0.3, 0.3, 0.3), (DirectionalLight((-0.8, 0.0, 0.6), (0.8, 0.8, 0.8), 0.5),))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kit(tmp_path_factory.mktemp("kit") / "facekit.npz")


@pytest.fixture(scope="module")
def kit(path: Path) -> FaceKit:
    return load_facekit(path)


def clip(kit: FaceKit, seed: int = 3, frames: int = 2, **lights: Lighting) -> HeadClip:
    return scanned_head_clip(kit, seed, frames, SIZE, tracker=SyntheticFace(), **lights)


def test_a_light_changes_the_light_alone(kit: FaceKit) -> None:
    """The same seed gives the same bytes; under another light pose, mask and the other side stay to the last bit."""
    first, again, other = clip(kit), clip(kit), clip(kit, target=LEFT)
    for name in ("rgb", "relit", "hints", "target_hints", "masks"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    for name in ("rgb", "hints", "masks"):
        np.testing.assert_array_equal(getattr(first, name), getattr(other, name))
    assert not np.array_equal(first.relit, other.relit)
    assert other.target is LEFT
    assert not np.array_equal(clip(kit, 4).rgb, first.rgb)
    assert first.rgb.shape == first.hints.shape == (2, SIZE, SIZE, 3)
    assert 0.1 < first.masks.mean() < 0.9


def test_a_lamp_at_the_left_lights_the_left(kit: FaceKit) -> None:
    """The picture follows its hint: the half of the person on the lamp's side is brighter, by either light's side."""
    right = preset("split-right").lighting
    shown = clip(kit, 3, 1, lighting=LEFT, target=right)
    person = shown.masks[0] > 0.9
    columns = np.nonzero(person)[1]
    west = person & (np.arange(SIZE)[None] < columns.mean())
    for picture, lit_west in ((shown.rgb[0], True), (shown.relit[0], False)):
        assert (picture[west].mean() > picture[person & ~west].mean()) == lit_west


def test_a_room_gives_what_a_hint_shows() -> None:
    """Where the radiance is nowhere negative, the samples add up to the irradiance of order 2, within 3 %."""
    light = Lighting("soft", (0.5, 0.6, 0.7), (DirectionalLight((0.6, 0.0, 0.8), (0.2, 0.15, 0.1), 1.0),))
    room = room_of(light, fibonacci(200))
    normals = fibonacci(30).astype(np.float32)
    found = np.maximum(normals @ room.directions.T, 0) @ room.rgb
    np.testing.assert_allclose(found, irradiance_over_pi(sh_projection(light), normals), rtol=0.03)


def test_eyes_turn_about_their_middles(kit: FaceKit) -> None:
    """Looking left and up moves their fronts there, by the sine of the angle, and leaves every distance."""
    rest, moved = kit.neutral[EYES], kit.turned_eyes(0.2, 0.1)
    for of in (rest[:, 0] > 0, rest[:, 0] <= 0):
        arm = rest[of] - (rest[of].min(0) + rest[of].max(0)) / 2
        np.testing.assert_allclose(np.linalg.norm(arm + moved[of], axis=1), np.linalg.norm(arm, axis=1), atol=1e-4)
        front = np.argmax(arm[:, 2])
        reach = arm[front, 2]
        assert moved[of][front, 0] > 0.1 * reach
        assert moved[of][front, 1] > 0.05 * reach


def test_a_head_without_a_face_is_told(kit: FaceKit) -> None:
    """After a few people the message names the head."""

    class Blind(SyntheticFace):
        looks = 0

        def track(self, rgb: NDArray[np.uint8], t_s: float) -> Face:
            self.looks += 1
            return None  # type: ignore[return-value]

    blind = Blind()
    with pytest.raises(DataError, match="head 5: the tracker finds no face"):
        scanned_head_clip(kit, 5, 3, SIZE, tracker=blind)
    assert blind.looks == ATTEMPTS
    for frames, size in ((0, SIZE), (1, 8)):
        with pytest.raises(ShapeError):
            scanned_head_clip(kit, 5, frames, size, tracker=blind)


def test_scanned_heads_have_a_cache_of_their_own(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn and scanned heads of one seed lie side by side; a run that began with one is not taken for the other."""
    monkeypatch.setattr("training.heads.scanned.head.MeshTracker", lambda smoothing: SyntheticFace())
    drawn, scanned = HeadSource(1, 3, 2, SIZE, tmp_path), HeadSource(1, 3, 2, SIZE, tmp_path, facekit=path)
    pictures = scanned.pictures(0)
    assert not np.array_equal(drawn.pictures(0), pictures)
    assert len(list(tmp_path.iterdir())) == 2
    np.testing.assert_array_equal(scanned.pictures(0), pictures)
    np.testing.assert_array_equal(pictures[..., :3], clip(load_facekit(path)).rgb)
    assert SyntheticHeads(drawn, 2).fingerprint != SyntheticHeads(scanned, 2).fingerprint


def test_a_wrong_kit_is_told_by_its_option(tmp_path: Path) -> None:
    """The cached reader does not keep a failure."""
    wrong = tmp_path / "kit.npz"
    wrong.write_bytes(b"none")
    for _ in range(2):
        with pytest.raises(DataError, match="--facekit"):
            HeadSource(1, 0, 1, SIZE, facekit=wrong).pictures(0)
