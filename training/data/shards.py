"""Tar shards that `webdataset` reads: samples one behind the other, and entries that say where each one lies.

A sample is a run of whole tar blocks, so samples are copied from file to file as bytes. Headers carry no time, owner or
mode that differs between runs. Every file appears under its name only when it is complete and on the disk.
"""

import contextlib
import errno
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from training.errors import DataError, DiskFull

BLOCK = tarfile.BLOCKSIZE
END = b"\0" * (2 * BLOCK)  # what ends a tar


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a sample lies in its tar."""

    name: str  # the WebDataset key
    group: str  # samples of one take of one person share it
    offset: int
    bytes: int
    crc32: int

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "group": self.group, "offset": self.offset, "bytes": self.bytes, "crc32": self.crc32}


def entry_from_json(row: dict[str, Any]) -> Entry:
    """Raises DataError where it is none."""
    try:
        return Entry(str(row["name"]), str(row["group"]), int(row["offset"]), int(row["bytes"]), int(row["crc32"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"an index entry is damaged ({error!r})", "prepare the data again") from None


def sample_bytes(key: str, files: Iterable[tuple[str, bytes]]) -> bytes:
    """The tar blocks of one sample: `files` are (name after the key, content). `key` has no dot and no slash."""
    if "." in key or "/" in key:
        raise ValueError(f"key {key!r}: a dot ends a WebDataset key, a slash makes folders")
    out = bytearray()
    for name, content in files:
        info = tarfile.TarInfo(f"{key}.{name}")
        info.size, info.mode = len(content), 0o644
        out += info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        out += content
        out += b"\0" * (-len(content) % BLOCK)
    return bytes(out)


def files_of(blocks: bytes, key: str) -> dict[str, bytes]:
    """Name after the key → content, of a sample's blocks. Raises DataError."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(blocks + END), mode="r:") as tar:
            for info in tar:
                content = tar.extractfile(info)
                if content is None or not info.name.startswith(f"{key}."):
                    raise DataError(f"{info.name} does not belong to it")
                files[info.name[len(key) + 1 :]] = content.read()
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise DataError(f"its tar blocks are damaged ({error})") from None
    return files


def read_sample(tar: Path, entry: Entry) -> dict[str, bytes]:
    """The files of the sample at `entry`. Raises DataError where they are not there or not what was written."""
    try:
        with tar.open("rb") as file:
            file.seek(entry.offset)
            blocks = file.read(entry.bytes)
    except OSError as error:
        raise DataError(f"{tar.name} cannot be read ({error.strerror})") from None
    if len(blocks) != entry.bytes:
        raise DataError(f"{tar.name} ends at byte {entry.offset + len(blocks)}, before the sample does")
    if zlib.crc32(blocks) != entry.crc32:
        raise DataError(f"{tar.name} holds other bytes than were written (CRC-32)")
    return files_of(blocks, entry.name)


@contextlib.contextmanager
def told_when_full(folder: Path) -> Iterator[None]:
    """A full disk becomes DiskFull, in words; other OSErrors become DataError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"the disk of {folder} is full",
                "free some space and give the same command again: what is finished is kept",
            ) from None
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})", "check the folder") from None


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when the block ends well; else nothing is left. Raises DiskFull, DataError."""
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with told_when_full(path.parent):
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_json(path: Path, document: Any) -> None:
    """JSON, one item a line at the top level, whole or not at all. Raises DiskFull, DataError."""
    with written_whole(path) as file:
        file.write(json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1).encode() + b"\n")


class PartWriter:
    """The samples of one source, in a tar of their own until they move into shards."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self.entries: list[Entry] = []

    def add(self, name: str, group: str, files: Iterable[tuple[str, bytes]]) -> None:
        """Append one sample. Raises OSError."""
        blocks = sample_bytes(name, files)
        self._file.write(blocks)
        self.entries.append(Entry(name, group, self._offset, len(blocks), zlib.crc32(blocks)))
        self._offset += len(blocks)

    def end(self) -> None:
        """Make it a complete tar. Raises OSError."""
        self._file.write(END)
