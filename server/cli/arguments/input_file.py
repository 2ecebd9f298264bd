"""Reads a whole file that a command was given: a regular one, up to a limit."""

import os
import stat
from pathlib import Path

from lcvd.errors import HintedError


def read_input(path: Path, limit: int, error: type[HintedError]) -> bytes:
    """Returns the bytes of the file at `path`.

    Raises `error` for a pipe, where nobody may ever write, for a device or a folder, and for more than `limit` bytes:
    a stranger's file must not fill the memory.
    """
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise error(f"{path}: is no regular file", "save it to a file and name that")
            data = file.read(limit + 1) if found.st_size <= limit else b""
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{path}: cannot be read ({reason})", "check the path") from None
    if max(found.st_size, len(data)) > limit:
        raise error(f"{path}: is over {limit / 2**20:.0f} MiB", "give a smaller copy")
    return data
