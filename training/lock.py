"""A folder or file has one writer at a time: the lock ends with the process, however that ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from training.errors import DataError


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds the lock of `folder` inside the block. Raises DataError where another process holds it."""
    if os.name == "nt":  # Windows cannot open a folder
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, folder)
        yield
    finally:
        os.close(handle)


def lock(handle: int, path: Path) -> None:
    """Locks an open file until it is closed. Raises DataError where another process holds it."""
    try:
        import fcntl
    except ImportError:  # Windows has no fcntl: the user must not start two runs
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"{path}: another run is writing here", "wait for it, or end it") from None
