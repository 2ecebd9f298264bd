"""RunLog writes the numbers of a run: one JSON line a step, and TensorBoard where it is installed."""

import contextlib
import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.shards import raise_disk_full

logger = logging.getLogger(__name__)

LOG = "log.jsonl"


class RunLog:
    """Writes the `log.jsonl` of a run.

    Continuing from a checkpoint first cuts off the lines after it, so no step is logged twice.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = True) -> None:
        self.path = folder / LOG
        with raise_disk_full(folder):
            self._file = self.path.open("r+" if self.path.exists() else "w+", encoding="utf-8")
            self._file.truncate(_length_until(self.path, step))
            self._file.seek(0, os.SEEK_END)
        self._board = _board(folder / "tensorboard", step) if tensorboard else None

    def write(self, step: int, kind: str, **values: Any) -> None:
        """Writes one line {"step", "kind", …}; numbers keep all their digits, those that are not finite become null.

        Raises DiskFull, DataError.
        """
        with raise_disk_full(self.path.parent):
            row = {"step": step, "kind": kind, **plain(values)}
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
            self._file.flush()
            if self._board is not None:
                for name, value in values.items():
                    if isinstance(value, int | float) and math.isfinite(value):
                        self._board.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, step: int, name: str, rgb: NDArray[np.uint8]) -> None:
        """Adds a picture to TensorBoard; the caller writes the file. Raises DiskFull, DataError."""
        if self._board is not None:
            with raise_disk_full(self.path.parent):
                self._board.add_image(name, rgb, step, dataformats="HWC")

    def sync(self) -> None:
        """Syncs the log to the disk. Raises DiskFull, DataError."""
        with raise_disk_full(self.path.parent):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the files; errors of a full disk were raised when the line was written."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._board is not None:
            with contextlib.suppress(OSError):
                self._board.close()


def _length_until(path: Path, step: int) -> int:
    """Returns the bytes of the lines up to and including step `step`."""
    length = 0
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                break
            if row["step"] > step:
                break
            length += len(line)
    return length


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: numbers that are not finite become None, in dictionaries too."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return {name: plain(each) for name, each in value.items()} if isinstance(value, dict) else value


def _board(folder: Path, step: int) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("TensorBoard is not installed: numbers go to log.jsonl only (pip install tensorboard)")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
