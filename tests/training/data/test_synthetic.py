"""Both pictures of a synthetic pair are true, the order is ClipStream's, and the cache changes nothing."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from training.data.synthetic import HELD_OUT, HeadSource, SyntheticClips, SyntheticHeads
from training.errors import DataError
from training.heads import head_clip

SIZE, FILMED, FRAMES = 32, 5, 3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> HeadSource:
    return HeadSource(4, 10, FILMED, SIZE, tmp_path_factory.mktemp("heads"))


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("pair", [True, False])
def test_reference_and_frames_are_what_the_renderer_says(source: HeadSource, side: int, pair: bool) -> None:
    """In a pair the reference has the other light and that light's hint; else one light is everywhere."""
    head = head_clip(12, FILMED, SIZE)
    rgb, hints = (head.rgb, head.relit), (head.hints, head.target_hints)
    clip = SyntheticHeads(source, FRAMES).clip(2, side, pair, reference=4, start=1)
    other = 1 - side if pair else side
    assert np.array_equal(clip.frames[0], rgb[other][4])
    assert np.array_equal(clip.hints[0], hints[other][4])
    assert np.array_equal(clip.reference, clip.frames[0])
    assert np.array_equal(clip.frames[1:], rgb[side][2:4])
    assert np.array_equal(clip.hints[1:], hints[side][2:4])
    masks = np.rint(head.masks[[4, 2, 3]] * 255)
    assert np.array_equal(clip.masks, masks)


def test_the_share_of_pairs_is_as_asked(source: HeadSource) -> None:
    """Names tell both lights; a quarter is a quarter, and both lights serve as the clip's own."""
    heads = SyntheticHeads(source, FRAMES, relit_pairs=0.25)
    names = [heads.load(i % 4, np.random.default_rng(i)).name for i in range(400)]
    assert np.mean([name[-2] != name[-1] for name in names]) == pytest.approx(0.25, abs=0.07)
    assert np.mean([name[-1] == "a" for name in names]) == pytest.approx(0.5, abs=0.1)
    assert {name.split("-")[1] for name in names} == {"0", "1", "2"}
    assert {name.split("-")[2][0] for name in names} == set("01234")


def test_two_processes_see_what_one_sees_and_a_restart_goes_on(source: HeadSource) -> None:
    """Slots are dealt in turn; the saved position restores the very next clip, threads or not."""

    def names(rank: int, world: int, count: int, skip: int = 0, threads: int = 0) -> list[str]:
        with SyntheticClips(source, frames=FRAMES, seed=3, rank=rank, world=world, threads=threads) as clips:
            if skip:
                with SyntheticClips(source, frames=FRAMES, seed=3, rank=rank, world=world) as before:
                    list(itertools.islice(before, skip))
                    clips.load_state_dict(before.state_dict())
            return [clip.name for clip in itertools.islice(clips, count)]

    alone = names(0, 1, 12)
    assert sorted({name.split("-")[0] for name in alone[:4]}) == ["head10", "head11", "head12", "head13"]
    assert names(0, 2, 6) == alone[0::2]
    assert names(1, 2, 6) == alone[1::2]
    assert names(0, 1, 7, skip=5, threads=2) == alone[5:]
    with SyntheticClips(source, frames=FRAMES, seed=3) as mine:
        state = mine.state_dict()
    other = SyntheticClips(source, frames=FRAMES, seed=3, relit_pairs=0.1)
    with pytest.raises(DataError, match="not the one this run began with"):
        other.load_state_dict(state)


def test_the_cache_is_bounded_and_changes_nothing(tmp_path: Path) -> None:
    """Stored heads are memory maps of the same bytes; beyond the bound they are rendered again; damage is mended."""
    uncached = HeadSource(3, 10, FILMED, SIZE)
    one = FILMED * SIZE * SIZE * 13
    cached = HeadSource(3, 10, FILMED, SIZE, tmp_path, cache_bytes=2 * one)
    for _ in range(2):
        for index in range(3):
            assert np.array_equal(cached.pictures(index), uncached.pictures(index))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["10-5x32.npy", "11-5x32.npy"]
    assert isinstance(cached.pictures(0), np.memmap)
    (tmp_path / files[0]).write_bytes(b"torn")
    assert np.array_equal(cached.pictures(0), uncached.pictures(0))
    assert isinstance(cached.pictures(0), np.memmap)


def test_held_out_heads_cannot_be_trained_on() -> None:
    """A range over the border is refused; impossible frames too."""
    with pytest.raises(DataError, match="held-out"):
        HeadSource(2, HELD_OUT - 1)
    HeadSource(2, HELD_OUT)
    with pytest.raises(DataError, match="frames is 9"):
        SyntheticHeads(HeadSource(1, 0, 8), 9)


def test_a_damaged_picture_file_is_rendered_again(tmp_path: Path) -> None:
    """A head whose file is empty, torn or of another shape is rendered again and stored."""
    heads = HeadSource(1, 10, FRAMES, SIZE, tmp_path)
    wanted = np.array(heads.pictures(0))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    other = tmp_path / "other.npy"
    np.save(other, np.zeros((1, 2), np.uint8))
    for damaged in (b"", whole[:1000], other.read_bytes()):
        path.write_bytes(damaged)
        assert np.array_equal(heads.pictures(0), wanted)
        assert path.read_bytes() == whole
