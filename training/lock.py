"""One writer a folder or file: a lock that goes with the process, however that ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from training.errors import DataError


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises DataError where another holds it."""
    if os.name == "nt":  # a folder cannot be opened there
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, folder)
        yield
    finally:
        os.close(handle)


def lock(handle: int, path: Path) -> None:
    """Lock an open file until it is closed. Raises DataError where another holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs at once are the user's to avoid
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"{path}: another run is writing here", "wait for it, or end it") from None
