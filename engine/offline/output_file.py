"""The file a clip is written to: checked before the work, and replaced only by a finished one."""

import os
import secrets
import stat
from pathlib import Path

from engine.errors import ClipError

PROBE_BYTES = 1 << 20  # less free space than this is a full disk


def create_part(target: Path) -> Path:
    """Create an empty file beside `target`, to be written and then moved there. Raises ClipError where that cannot be.

    Its name does not grow with the target's: one of 250 characters is legal, with ".part" in front it would not be.
    """
    _check_target(target)
    part = target.with_name(f".relight-{secrets.token_hex(4)}.part{target.suffix}")
    try:
        with part.open("xb", buffering=0) as file:
            try:
                file.write(bytes(PROBE_BYTES))
                file.truncate(0)
            except OSError:
                part.unlink()
                raise
    except (OSError, ValueError) as error:
        raise unwritable(target, error) from None
    return part


def check_output(target: Path, *sources: Path) -> None:
    """Raise ClipError where `target` cannot be written, or is one of `sources`, which it would replace."""
    for source in sources:
        try:
            same = os.path.samefile(source, target)
        except (OSError, ValueError):  # one of them does not exist: not the same
            same = False
        if same:
            raise ClipError(f"{target}: is the source itself", "name another file")
    create_part(target).unlink()


def unwritable(target: Path, error: Exception) -> ClipError:
    """Return the error that says why `target` cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return ClipError(
        f"{target}: cannot be written ({reason})", "name a file in a folder that can be written and has room"
    )


def _check_target(target: Path) -> None:
    folder = target.parent
    try:
        if not folder.is_dir():
            kind = "is a file" if folder.exists() else "does not exist"
            raise ClipError(f"{target}: the folder {folder} {kind}", "make it first, or name another")
        mode = target.stat().st_mode
    except FileNotFoundError:
        return
    except ClipError:
        raise
    except (OSError, ValueError) as error:
        raise unwritable(target, error) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise ClipError(f"{target}: is {kind}", "name a file in it" if stat.S_ISDIR(mode) else "name a file")
