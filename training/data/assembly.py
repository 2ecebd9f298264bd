"""Assembly joins finished sources, in their order, into shards of about equal size, with a journal and a final index.

`.prepare/parts/N.tar` and `N.json` are the samples and the record of source N; shards are filled from them strictly in
order, so they do not depend on which source finished first. A sealed shard is journalled, then the parts it used up are
deleted. After a crash an unsealed shard is filled again from parts that are still there, which gives the same bytes.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from training.data.shards import END, Entry, atomic_write, entry_from_json, raise_disk_full, write_json
from training.errors import DataError

STATE = ".prepare"
INDEX, REJECTED = "index.json", "rejected.jsonl"
FORMAT = "relight-live clips 1"


def part_path(data: Path, number: int) -> Path:
    """Returns the path of the tar that holds the samples of source `number` until they move into shards."""
    return data / STATE / "parts" / f"{number:08d}.tar"


def record_path(data: Path, number: int) -> Path:
    """Returns the path of the record of source `number`; it exists when the source is finished."""
    return part_path(data, number).with_suffix(".json")


class Assembly:
    """Fills the shards of `data` from the records of `count` sources. A folder has one Assembly at a time."""

    def __init__(self, data: Path, count: int, shard_bytes: int) -> None:
        self._data, self._count, self._limit = data, count, shard_bytes
        self._sealed: list[dict[str, Any]] = []
        self._next = 0  # the first source whose record has not been taken yet
        self._waiting: list[tuple[int, Entry]] = []  # (source, place in its part), of the open shard
        self._bytes = 0
        self._skip = self._restore()  # samples of source `_next` that are in a sealed shard

    def _restore(self) -> int:
        skip = 0
        while (path := self._journal(len(self._sealed))).is_file():
            row = json.loads(path.read_text())
            self._sealed.append(row["shard"])
            self._next, skip = row["next"]
        self._sweep()
        return skip

    def _journal(self, number: int) -> Path:
        return self._data / STATE / "sealed" / f"{number:06d}.json"

    def _sweep(self) -> None:
        """Deletes the parts of which every sample is sealed: those before the first one still needed."""
        needed = min((source for source, _ in self._waiting), default=self._next)
        for path in (self._data / STATE / "parts").glob("*.tar"):
            if int(path.stem) < needed:
                path.unlink(missing_ok=True)

    def advance(self) -> None:
        """Takes every finished source that is next in order. Raises DiskFull, DataError."""
        while self._next < self._count and record_path(self._data, self._next).is_file():
            record = json.loads(record_path(self._data, self._next).read_text())
            entries = [entry_from_json(row) for row in record["samples"]]
            source = self._next
            for position, entry in enumerate(entries[self._skip :], self._skip):
                if self._waiting and self._bytes + entry.bytes > self._limit:
                    self._seal((source, position))
                self._waiting.append((source, entry))
                self._bytes += entry.bytes
            self._next, self._skip = source + 1, 0

    def _seal(self, following: tuple[int, int]) -> None:
        number = len(self._sealed)
        name = f"shard-{number:06d}.tar"
        digest = hashlib.sha256()
        offset, rows = 0, []
        with atomic_write(self._data / name) as file:
            for source, entry in self._waiting:
                with part_path(self._data, source).open("rb") as part:
                    part.seek(entry.offset)
                    blocks = part.read(entry.bytes)
                if len(blocks) != entry.bytes:
                    raise DataError(
                        f"{part_path(self._data, source)}: ends before sample {entry.name}",
                        f"delete {record_path(self._data, source)} and give the same command again",
                    )
                digest.update(blocks)
                file.write(blocks)
                rows.append(Entry(entry.name, entry.group, offset, entry.bytes, entry.crc32).as_json())
                offset += entry.bytes
            digest.update(END)
            file.write(END)
        shard = {"file": name, "bytes": offset + len(END), "sha256": digest.hexdigest(), "samples": rows}
        write_json(self._journal(number), {"shard": shard, "next": list(following)})
        self._sealed.append(shard)
        self._waiting, self._bytes = [], 0
        self._next = following[0]
        self._sweep()

    def finish(self, about: dict[str, Any]) -> dict[str, Any]:
        """Seals the last shard, writes rejected.jsonl and index.json, deletes the state; returns the index.

        `about` goes to the front of the index.
        """
        self.advance()
        assert self._next == self._count, f"source {self._next} of {self._count} is not done"
        if self._waiting:
            self._seal((self._count, 0))
        records = [json.loads(record_path(self._data, n).read_text()) for n in range(self._count)]
        with atomic_write(self._data / REJECTED) as file:
            for record in records:
                for row in record["rejected"]:
                    file.write(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        index = {
            "format": FORMAT,
            **about,
            "totals": {
                "sources": self._count,
                "sources_without_a_clip": sum(not record["samples"] for record in records),
                "clips": sum(len(record["samples"]) for record in records),
                "clips_rejected": sum(row["clip"] is not None for record in records for row in record["rejected"]),
                "footage_frames": sum(record["frames"] for record in records),
                "bytes": sum(shard["bytes"] for shard in self._sealed),
            },
            "shards": self._sealed,
        }
        write_json(self._data / INDEX, index)
        with raise_disk_full(self._data):
            shutil.rmtree(self._data / STATE)
        return index
