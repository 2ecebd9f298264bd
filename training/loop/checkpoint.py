"""Checkpoints are written to a temporary folder, synced, then renamed; the newest complete one is loaded.

`step-00001000/` holds accelerate's state (weights, optimizer, random numbers of every process), our own files and
`checkpoint.json`, which lists size and SHA-256 of them all. A damaged folder is skipped with a warning.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from training.data.shards import raise_disk_full
from training.errors import DataError

logger = logging.getLogger(__name__)

MANIFEST = "checkpoint.json"
PREFIX = "step-"
FORMAT = "relight-checkpoint-1"


class Checkpoints:
    """Manages the checkpoints of one run's folder; only the main process writes and removes them."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def newest(self) -> Path | None:
        """Returns the newest complete checkpoint; damaged ones are logged and left as they are."""
        for path in reversed(self.all()):
            problem = problem_of(path)
            if problem is None:
                return path
            logger.warning("checkpoint %s is passed over: %s", path, problem)
        return None

    def all(self) -> list[Path]:
        """Returns the finished folders by step, whether or not their files are intact."""
        if not self.folder.is_dir():
            return []
        named = [path for path in self.folder.iterdir() if path.is_dir() and path.name.startswith(PREFIX)]
        return sorted(path for path in named if path.name.removeprefix(PREFIX).isdigit())

    def begin(self, step: int) -> Path:
        """Makes an empty folder to write into and removes leftovers of a crash. Raises DiskFull, DataError."""
        with raise_disk_full(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.glob(f".{PREFIX}*"):
                shutil.rmtree(path, ignore_errors=True)
            part = self.folder / f".{PREFIX}{step:08d}"
            part.mkdir()
        return part

    def finish(self, part: Path, document: dict[str, Any]) -> Path:
        """Renames the folder to its final name, then removes the oldest. Raises DiskFull, DataError."""
        with raise_disk_full(self.folder):
            files = {
                path.relative_to(part).as_posix(): _sealed(path) for path in sorted(part.rglob("*")) if path.is_file()
            }
            manifest = part / MANIFEST
            manifest.write_text(json.dumps({"format": FORMAT, "files": files, **document}, indent=1) + "\n")
            _sync(manifest)
            _sync(part)
            path = self.folder / part.name.removeprefix(".")
            shutil.rmtree(path, ignore_errors=True)  # a damaged one of the same step
            part.rename(path)
            _sync(self.folder)
        # Old ones go only after the new one is there. A later step belongs to a branch that a resumed run has left.
        there = self.all()
        kept = there[: there.index(path) + 1][-self.keep :]
        for old in there:
            if old not in kept:
                shutil.rmtree(old, ignore_errors=True)
        return path

    def abandon(self, part: Path) -> None:
        """Removes a folder that could not be finished."""
        shutil.rmtree(part, ignore_errors=True)


def problem_of(path: Path) -> str | None:
    """Returns what is wrong with a checkpoint, or None."""
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
    """Returns checkpoint.json. Raises DataError."""
    try:
        document: dict[str, Any] = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path / MANIFEST} cannot be read ({error})") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataError(f"{path / MANIFEST} is not a checkpoint of this version ({FORMAT})")
    return document


def _sealed(path: Path) -> tuple[int, str]:
    """Syncs a file to the disk and returns its size and SHA-256."""
    _sync(path)
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
