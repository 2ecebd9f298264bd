"""This module writes and reads tar shards for `webdataset`: samples follow each other, and an Entry locates each one.

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
END = b"\0" * (2 * BLOCK)  # of a tar
# In lower case, in the exceptions of torch.save and safetensors.
DISK_FULL_SIGNS = (
    "no space",
    "enospc",
    f"os error {errno.ENOSPC}",
    "disk quota",
    "file write failed",
    "unexpected pos",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Locates a sample in its tar."""

    name: str  # the WebDataset key
    group: str  # samples of one segment of one source share it
    offset: int
    bytes: int
    crc32: int

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "group": self.group, "offset": self.offset, "bytes": self.bytes, "crc32": self.crc32}


def entry_from_json(row: dict[str, Any]) -> Entry:
    """Reads an entry of an index. Raises DataError where it is damaged."""
    try:
        return Entry(str(row["name"]), str(row["group"]), int(row["offset"]), int(row["bytes"]), int(row["crc32"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"an index entry is damaged ({error!r})", "prepare the data again") from None


def sample_bytes(key: str, files: Iterable[tuple[str, bytes]]) -> bytes:
    """Returns the tar blocks of one sample; `files` are (name after the key, content).

    Raises ValueError where `key` has a dot or a slash.
    """
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
    """Returns name after the key → content, of a sample's blocks. Raises DataError."""
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
    """Reads the files of the sample at `entry`.

    Raises DataError where they are missing or differ from what was written.
    """
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
def raise_disk_full(folder: Path) -> Iterator[None]:
    """Turns a full disk into DiskFull, and other OSErrors into DataError.

    torch and safetensors report a full disk with exceptions of their own, which carry no errno: their text decides.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(folder) from None
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})", "check the folder") from None
    except DataError:
        raise
    except Exception as error:
        if any(sign in str(error).lower() for sign in DISK_FULL_SIGNS):
            raise _disk_full(folder) from error
        raise


def _disk_full(folder: Path) -> DiskFull:
    return DiskFull(
        f"the disk of {folder} is full", "free some space and give the same command again: what is finished is kept"
    )


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that gets its name only when the block ends without an error; otherwise nothing is left.

    Raises DiskFull, DataError.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with raise_disk_full(path.parent):
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
    """Writes JSON with one item a line at the top level, atomically. Raises DiskFull, DataError."""
    with atomic_write(path) as file:
        file.write(json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1).encode() + b"\n")


class PartWriter:
    """Writes the samples of one source into a tar of their own, from which they later move into shards."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self.entries: list[Entry] = []

    def add(self, name: str, group: str, files: Iterable[tuple[str, bytes]]) -> None:
        """Appends one sample. Raises OSError."""
        blocks = sample_bytes(name, files)
        self._file.write(blocks)
        self.entries.append(Entry(name, group, self._offset, len(blocks), zlib.crc32(blocks)))
        self._offset += len(blocks)

    def end(self) -> None:
        """Completes the tar. Raises OSError."""
        self._file.write(END)
