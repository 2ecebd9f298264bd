"""Shards are tars for any reader, samples are found by their entries, and assembly does not depend on its order."""

import errno
import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.synthetic_data import clip, write_source, write_synthetic_data
from training.data.assembly import STATE, Assembly, part_path
from training.data.sample_files import encode, frame_of, hint_of, mask_of
from training.data.shards import atomic_write, entry_from_json, files_of, read_sample, sample_bytes
from training.errors import DataError, DiskFull


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_shard_groups_by_the_rule_of_webdataset(tmp_path: Path) -> None:
    """Consecutive members with the same name up to the first dot are one sample; the rest of the name is the kind."""
    write_synthetic_data(tmp_path / "data", sources=2, samples=2)
    samples: dict[str, list[str]] = {}
    with tarfile.open(tmp_path / "data" / "shard-000000.tar") as tar:
        for member in tar:
            key, _, kind = member.name.partition(".")
            assert not samples or key == next(reversed(samples)) or key not in samples
            samples.setdefault(key, []).append(kind)
            assert (member.uid, member.mtime, member.uname, member.isfile()) == (0, 0, "", True)
    assert list(samples) == [f"video{v}-000-{i:06d}" for v in (0, 1) for i in (0, 1)]
    kinds = [f"{what}.{i:02d}.png" for what in ("frame", "hint", "mask") for i in range(4)] + ["face.npz", "json"]
    assert all(found == kinds for found in samples.values())


def test_sample_files_come_back_as_they_went_in(tmp_path: Path) -> None:
    """Pictures, arrays and notes survive encoding, blocks and decoding."""
    made = clip("a", 5)
    files = files_of(sample_bytes("a", encode(made, 0)), "a")
    assert all(np.array_equal(frame_of(files, i), made.frames[i]) for i in range(4))
    assert all(np.array_equal(hint_of(files, i), made.hints[i]) for i in range(4))
    assert all(np.array_equal(mask_of(files, i), made.masks[i]) for i in range(4))
    assert json.loads(files["json"]) == {"seed": 5}
    (tmp_path / "face.npz").write_bytes(files["face.npz"])
    assert np.array_equal(np.load(tmp_path / "face.npz")["sh"], made.tracking["sh"])


def test_jpeg_frames_keep_their_colours() -> None:
    """Lossy frames are near the original in every channel."""
    made = clip("a", 5)
    smooth = np.broadcast_to(np.linspace(0, 250, 64).astype(np.uint8)[:, None, None] // [1, 2, 4], (4, 64, 64, 3))
    object.__setattr__(made, "frames", smooth.astype(np.uint8))
    files = files_of(sample_bytes("a", encode(made, 95)), "a")
    assert np.abs(frame_of(files, 0).astype(int) - smooth[0]).max() <= 6


@pytest.mark.parametrize("key", ["a.b", "a/b"])
def test_keys_that_would_split_are_refused(key: str) -> None:
    """A dot would end the key, a slash would make folders."""
    with pytest.raises(ValueError, match="key"):
        sample_bytes(key, [])


def test_the_index_finds_every_sample_and_its_damage(tmp_path: Path) -> None:
    """Offsets, CRC and SHA-256 are those of the files; one turned bit is noticed."""
    data = write_synthetic_data(tmp_path / "data", shard_bytes=200_000)
    index = json.loads((data / "index.json").read_text())
    assert len(index["shards"]) > 1
    for shard in index["shards"]:
        path = data / shard["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]
        assert path.stat().st_size == shard["bytes"] <= 200_000 + 1024
        for row in shard["samples"]:
            assert len(read_sample(path, entry_from_json(row))) == 14
    raw = bytearray(path.read_bytes())
    raw[600] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="CRC"):
        read_sample(path, entry_from_json(shard["samples"][0]))
    path.write_bytes(raw[:700])
    with pytest.raises(DataError, match="ends at byte"):
        read_sample(path, entry_from_json(shard["samples"][0]))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 2, 0), (2, 0, 3, 1)])
def test_shards_do_not_depend_on_who_finishes_first(tmp_path: Path, order: tuple[int, ...]) -> None:
    """The order of the plan decides, and an assembly restarted after every step gives the same bytes."""
    reference, data = tmp_path / "reference", tmp_path / "data"
    counts = (2, 0, 3, 1)
    for number, count in enumerate(counts):
        write_source(reference, number, count)
    Assembly(reference, 4, 150_000).finish({})
    for number in order:
        write_source(data, number, counts[number])
        Assembly(data, 4, 150_000).advance()  # as if killed right after: what it holds in memory is lost
    Assembly(data, 4, 150_000).finish({})
    assert contents(data) == contents(reference)
    assert not (data / STATE).exists()
    assert len(list(data.glob("shard-*.tar"))) > 2


def test_parts_go_when_their_shard_is_sealed_and_not_before(tmp_path: Path) -> None:
    """A part of which a sample is still unsealed stays; a crash between sealing and sweeping is swept up later."""
    for number in range(3):
        write_source(tmp_path, number, 2)
    kept = part_path(tmp_path, 0).read_bytes()
    Assembly(tmp_path, 3, 250_000).advance()
    assert not part_path(tmp_path, 0).exists()
    assert part_path(tmp_path, 2).exists()
    part_path(tmp_path, 0).write_bytes(kept)
    Assembly(tmp_path, 3, 250_000)
    assert not part_path(tmp_path, 0).exists()


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    """ENOSPC becomes DiskFull, the name stays free, and a file that had the name before stays whole."""
    path = tmp_path / "a"
    path.write_bytes(b"before")

    def write() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match="full") as caught:
        write()
    assert "same command again" in caught.value.hint
    assert contents(tmp_path) == {"a": b"before"}
