"""ClipDataset and ClipStream keep an order by seed and position that is restored exactly; damage is skipped."""

import itertools
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from server.cli.data import data as command
from tests.training.synthetic_data import clip, write_synthetic_data
from training.data.dataset import ClipDataset, ClipStream, verify
from training.data.sample import TrainingClip
from training.errors import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_data(tmp_path_factory.mktemp("data"), sources=3, samples=3)


def names(stream: ClipStream, count: int) -> list[str]:
    return [clip.name for clip in itertools.islice(stream, count)]


def same(a: TrainingClip, b: TrainingClip) -> bool:
    pairs = ((a.frames, b.frames), (a.hints, b.hints), (a.masks, b.masks), (a.reference, b.reference))
    return a.name == b.name and all(np.array_equal(x, y) for x, y in pairs)


def test_index_0_is_a_random_frame_of_the_segment_with_its_own_hint_and_mask(data: Path) -> None:
    """The reference comes from any sample of the same segment, never from another video; 1 … F−1 stay as they are."""
    dataset = ClipDataset([data])
    assert (len(dataset), dataset.frames, dataset.size) == (9, 4, 64)
    own = clip("", 101)  # video1-000-000001
    kin = [clip("", 100), own, clip("", 102)]
    drawn = set()
    for seed in range(40):
        got = dataset.load(4, np.random.default_rng(seed))
        assert got.name == "video1-000-000001"
        assert np.array_equal(got.frames[1:], own.frames[1:])
        assert np.array_equal(got.reference, got.frames[0])
        (at,) = [(k, i) for k, one in enumerate(kin) for i in range(4) if np.array_equal(one.frames[i], got.frames[0])]
        assert np.array_equal(got.hints[0], kin[at[0]].hints[at[1]])
        assert np.array_equal(got.masks[0], kin[at[0]].masks[at[1]])
        drawn.add(at)
    assert len(drawn) >= 9


def test_every_epoch_is_a_permutation_of_its_own(data: Path) -> None:
    """Each sample comes once an epoch, in another order the next time and with another seed."""
    dataset = ClipDataset([data])
    seen = names(ClipStream(dataset, seed=1), 18)
    assert len(set(seen[:9])) == len(set(seen[9:])) == 9
    assert seen[:9] != seen[9:]
    assert seen == names(ClipStream(dataset, seed=1), 18)
    assert seen != names(ClipStream(dataset, seed=2), 18)
    plain = names(ClipStream(dataset, seed=1, shuffle=False), 9)
    assert plain == sorted(plain)


def test_two_processes_see_together_what_one_sees_alone(data: Path) -> None:
    """The slots are dealt in turn, pixels included, also across the end of an odd epoch."""
    dataset = ClipDataset([data])
    alone = itertools.islice(ClipStream(dataset, seed=3), 20)
    both = zip(*(ClipStream(dataset, seed=3, rank=rank, world=2) for rank in (0, 1)), strict=False)
    dealt = itertools.chain.from_iterable(itertools.islice(both, 10))
    assert all(same(a, b) for a, b in zip(alone, dealt, strict=True))


@pytest.mark.parametrize("threads", [0, 3])
def test_a_restored_stream_goes_on_to_the_pixel(data: Path, threads: int) -> None:
    """The state is JSON; what was read ahead but not handed out is read again."""
    dataset = ClipDataset([data])
    with ClipStream(dataset, seed=5, threads=threads) as stream, ClipStream(dataset, seed=5, threads=threads) as other:
        names(stream, 7)
        state = json.loads(json.dumps(stream.state_dict()))
        expected = list(itertools.islice(stream, 6))
        names(other, 3)
        other.load_state_dict(state)
        assert all(same(a, b) for a, b in zip(expected, itertools.islice(other, 6), strict=True))
    assert all(same(a, b) for a, b in zip(expected, itertools.islice(ClipStream(dataset, seed=5), 7, 13), strict=True))


def test_a_run_of_two_processes_goes_on_with_one(data: Path) -> None:
    """The position counts clips of all processes; a number that cannot be dealt evenly is refused."""
    dataset = ClipDataset([data])
    pair = ClipStream(dataset, seed=5, rank=1, world=2)
    names(pair, 3)
    one = ClipStream(dataset, seed=5)
    one.load_state_dict(pair.state_dict())
    assert names(one, 2) == names(ClipStream(dataset, seed=5), 8)[6:]
    with pytest.raises(DataError, match="evenly"):
        ClipStream(dataset, seed=5, world=4).load_state_dict(pair.state_dict())


def test_a_state_of_other_data_or_another_seed_is_refused(data: Path, tmp_path: Path) -> None:
    """A resumed run must not quietly train on something else."""
    state = ClipStream(ClipDataset([data]), seed=1).state_dict()
    other = ClipDataset([write_synthetic_data(tmp_path / "other", sources=1)])
    with pytest.raises(DataError, match="not the one"):
        ClipStream(other, seed=1).load_state_dict(state)
    with pytest.raises(DataError, match="seed is 2"):
        ClipStream(ClipDataset([data]), seed=2).load_state_dict(state)


def test_damage_is_named_once_and_stepped_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged sample and a missing shard cost their clips only; every position still gives one clip."""
    data = write_synthetic_data(tmp_path / "data", sources=3, samples=2, shard_bytes=150_000)
    dataset = ClipDataset([data])
    first, second = sorted({place.tar for place in dataset.places})[:2]
    raw = bytearray(first.read_bytes())
    raw[3000] ^= 0xFF
    first.write_bytes(raw)
    second.unlink()
    stream = ClipStream(dataset, seed=1)
    with caplog.at_level(logging.WARNING):
        clips = list(itertools.islice(stream, 24))
    hurt = {place.entry.name for place in dataset.places if place.tar in (first, second)}
    assert {clip.name for clip in clips} == {place.entry.name for place in dataset.places} - hurt
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(stream.problems) == len(set(told))
    assert any(first.name in line and "CRC" in line for line in told)
    assert any(second.name in line and "No such file" in line for line in told)
    trouble = dict(verify(data))
    assert first.name in trouble
    assert "damaged samples: video0" in str(trouble[first.name])
    assert sum(said is None for said in trouble.values()) == len(trouble) - 2


def test_nothing_readable_ends_in_words(tmp_path: Path) -> None:
    """Only when no sample is left does the stream raise, and it says why."""
    data = write_synthetic_data(tmp_path / "data", sources=1)
    stream = ClipStream(ClipDataset([data]), seed=0)
    (data / "shard-000000.tar").unlink()
    with pytest.raises(DataError, match="no sample") as caught:
        next(stream)
    assert "shard-000000.tar" in caught.value.hint


def test_folders_are_joined_and_unfit_ones_refused(data: Path, tmp_path: Path) -> None:
    """Two folders with videos of the same name stay apart; an unfinished folder and another shape are errors."""
    dataset = ClipDataset([data, write_synthetic_data(tmp_path / "twin", sources=1, samples=1)])
    assert len(dataset) == 10
    only = clip("", 0)
    references = {dataset.load(9, np.random.default_rng(seed)).reference.tobytes() for seed in range(20)}
    assert references == {only.frames[i].tobytes() for i in range(4)}
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"has no index\.json"):
        ClipDataset([tmp_path / "none"])
    index = json.loads((tmp_path / "twin" / "index.json").read_text())
    index["settings"]["size"] = 128
    (tmp_path / "twin" / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="differ"):
        ClipDataset([data, tmp_path / "twin"])


def test_the_sheet_shows_frame_hint_and_mask_of_each_clip(data: Path, tmp_path: Path) -> None:
    """The command draws a row a clip: reference and three moments, four pictures each; a bad path is an error."""
    target = tmp_path / "sheet.png"
    assert CliRunner().invoke(command, ["sheet", str(data), "-o", str(target), "--clips", "2"]).exit_code == 0
    drawn = cv2.imread(str(target))
    assert drawn is not None
    assert drawn.shape == (2 * 160, 16 * 160, 3)
    stream = ClipStream(ClipDataset([data]), seed=0)
    first = next(stream)
    expected = cv2.resize(first.hints[0], (160, 160), interpolation=cv2.INTER_AREA)
    assert np.array_equal(drawn[:160, 320:480, ::-1], expected)
    refused = CliRunner().invoke(command, ["sheet", str(data), "-o", str(tmp_path / "no" / "a.png")])
    assert isinstance(refused.exception, DataError)


def test_verify_ends_with_1_where_a_shard_is_damaged(tmp_path: Path) -> None:
    """The command names each shard and says which samples are lost."""
    folder = write_synthetic_data(tmp_path / "data", sources=1)
    assert CliRunner().invoke(command, ["verify", str(folder)]).exit_code == 0
    shard = folder / "shard-000000.tar"
    raw = bytearray(shard.read_bytes())
    raw[700] ^= 1
    shard.write_bytes(raw)
    result = CliRunner().invoke(command, ["verify", str(folder)])
    assert result.exit_code == 1
    assert "damaged samples: video0-000-000000" in " ".join(result.output.split())
