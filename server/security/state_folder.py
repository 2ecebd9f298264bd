"""The folder that keeps the server's secrets between two starts: files that only their owner may read."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

import platformdirs

from server.errors import StateError


def state_folder(chosen: Path | None = None) -> Path:
    """Returns the folder `chosen`, by default the user's own for the state of programs."""
    return chosen or Path(platformdirs.user_state_dir("relight-live"))


def read_private(path: Path) -> bytes | None:
    """Returns the file's bytes, None where there is no file. Raises StateError where others may read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise StateError(
                    f"{path} can be read by others (mode {stat.S_IMODE(mode):o})",
                    f"delete it, so that another is made; or, if nobody has read it: chmod 600 {path}",
                )
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(
            f"{path} cannot be read: {error.strerror}", "set RELIGHT_STATE_DIR to your own folder"
        ) from None


def write_private(path: Path, data: bytes, *, replace: bool) -> None:
    """Writes the file whole, for its owner alone; one that is there stays unless `replace`. Raises StateError."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            if replace:
                unfinished.replace(path)
            else:
                with contextlib.suppress(FileExistsError):  # of another process that started at the same moment
                    os.link(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise StateError(
            f"{path} cannot be written: {error.strerror}", "set RELIGHT_STATE_DIR to a folder that you may write"
        ) from None
