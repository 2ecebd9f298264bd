"""Checkpoints that are whole or not there: written beside, synced, then renamed; the newest valid one is taken.

`step-00001000/` holds accelerate's state (weights, optimizer, random numbers of every process), our own files and
`checkpoint.json`, which lists size and SHA-256 of them all. A torn folder is passed over with words.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.data.shards import told_when_full
from training.errors import DataError, DiskFull

logger = logging.getLogger(__name__)

MANIFEST = "checkpoint.json"
PREFIX = "step-"
FORMAT = "relight-checkpoint-1"


class Checkpoints:
    """The checkpoints of one run's folder; the main process alone writes and removes."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def newest(self) -> Path | None:
        """The newest whole checkpoint; what is not whole is logged and left alone."""
        for path in reversed(self.all()):
            trouble = problem_of(path)
            if trouble is None:
                return path
            logger.warning("checkpoint %s is passed over: %s", path, trouble)
        return None

    def all(self) -> list[Path]:
        """Finished folders by step, whole or not."""
        if not self.folder.is_dir():
            return []
        named = [path for path in self.folder.iterdir() if path.is_dir() and path.name.startswith(PREFIX)]
        return sorted(path for path in named if path.name.removeprefix(PREFIX).isdigit())

    def begin(self, step: int) -> Path:
        """An empty folder to write into; leftovers of a crash are removed. Raises DiskFull, DataError."""
        with told_when_full(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.glob(f".{PREFIX}*"):
                shutil.rmtree(path, ignore_errors=True)
            part = self.folder / f".{PREFIX}{step:08d}"
            part.mkdir()
        return part

    def finish(self, part: Path, document: dict[str, Any]) -> Path:
        """Give the folder its name, then remove the oldest. Raises DiskFull, DataError."""
        with told_when_full(self.folder):
            files = {
                path.relative_to(part).as_posix(): _sealed(path) for path in sorted(part.rglob("*")) if path.is_file()
            }
            manifest = part / MANIFEST
            manifest.write_text(json.dumps({"format": FORMAT, "files": files, **document}, indent=1) + "\n")
            _sync(manifest)
            _sync(part)
            path = self.folder / part.name.removeprefix(".")
            shutil.rmtree(path, ignore_errors=True)  # a torn one of the same step
            part.rename(path)
            _sync(self.folder)
        # After, never before: between the two there are keep + 1. A later step is of a branch that was given up.
        there = self.all()
        kept = there[: there.index(path) + 1][-self.keep :]
        for old in there:
            if old not in kept:
                shutil.rmtree(old, ignore_errors=True)
        return path

    def abandon(self, part: Path) -> None:
        """Remove what could not be finished."""
        shutil.rmtree(part, ignore_errors=True)


def problem_of(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        document = read(path)
        for name, (size, digest) in document["files"].items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes instead of {size}"
            with file.open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != digest:
                    return f"{name} holds other bytes than were written"
    except (DataError, OSError, ValueError, KeyError, TypeError) as error:
        return str(error)
    return None


def read(path: Path) -> dict[str, Any]:
    """checkpoint.json. Raises DataError."""
    try:
        document: dict[str, Any] = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path / MANIFEST} cannot be read ({error})") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataError(f"{path / MANIFEST} is not a checkpoint of this version ({FORMAT})")
    return document


@contextlib.contextmanager
def told_when_disk_full(folder: Path) -> Iterator[None]:
    """DiskFull for what torch and safetensors make of a full disk: errors of their own, without a number."""
    try:
        with told_when_full(folder):
            yield
    except DataError:
        raise
    except Exception as error:
        text = str(error).lower()
        signs = ("no space", "enospc", f"os error {errno.ENOSPC}", "disk quota", "file write failed", "unexpected pos")
        if any(sign in text for sign in signs):
            raise DiskFull(
                f"the disk of {folder} is full", "free some space and give the same command again"
            ) from error
        raise


def _sealed(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file that is on the disk."""
    _sync(path)
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
