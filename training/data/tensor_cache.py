"""TensorCache stores what the frozen VAE and CLIP give for a picture; on a CPU they cost more than the trained network.

Keys are hashes of the picture's bytes, so any source of clips can use it; the file's name has a hash of the encoder's
weights. Stored values were computed one picture at a time: batches of another size may differ in the last bit, and a
resumed run has to continue with the same numbers.
"""

import contextlib
import errno
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.shards import raise_disk_full
from training.lock import lock

logger = logging.getLogger(__name__)


def picture_key(picture: NDArray[np.uint8], about: bytes = b"") -> bytes:
    """Returns 16 bytes that identify a picture's content and how it was processed (`about`)."""
    digest = hashlib.blake2b(about, digest_size=16)
    digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()


def network_key(network: nn.Module) -> str:
    """Returns a hash of all weights of a network."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class TensorCache:
    """Stores tensors of one shape by key in an append-only file with one writer, read by memory map, up to a bound.

    Raises DataError where another process has it open, or where it cannot be written. A record is key and values; an
    incomplete last record, left by a crash, is cut off.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], bound_bytes: int) -> None:
        self.path, self.shape = path, shape
        self._count = int(np.prod(shape))
        self._record = np.dtype([("key", "S16"), ("value", "<f4", (self._count,))])
        self._bound = max(bound_bytes // self._record.itemsize, 1)
        self._at: dict[bytes, int] = {}
        self._map: np.memmap[Any, Any] | None = None
        with raise_disk_full(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: bytes that a full disk refused must not be written later.
            self._file = path.open("ab", buffering=0)
            try:
                lock(self._file.fileno(), path)
            except BaseException:
                self._file.close()
                raise
            whole = self._file.tell() // self._record.itemsize
            self._file.truncate(whole * self._record.itemsize)
        if whole:
            # numpy's S16 drops trailing zero bytes, hence the padding.
            keys = np.memmap(path, self._record, "r", shape=(whole,))["key"]
            self._at = {bytes(key).ljust(16, b"\0"): i for i, key in enumerate(keys)}

    def __len__(self) -> int:
        return len(self._at)

    def get(self, key: bytes) -> Tensor | None:
        """Returns a copy, float32 of the cache's shape, or None."""
        at = self._at.get(key)
        if at is None:
            return None
        if self._map is None or at >= len(self._map):
            rows = os.path.getsize(self.path) // self._record.itemsize
            self._map = np.memmap(self.path, self._record, "r", shape=(rows,))
        return torch.from_numpy(np.array(self._map[at]["value"])).reshape(self.shape)

    def put(self, key: bytes, value: Tensor) -> None:
        """Stores a value; does nothing when the bound is reached or the disk is full."""
        if key in self._at or len(self._at) >= self._bound:
            return
        assert tuple(value.shape) == self.shape, f"{self.path} holds {self.shape}, got {tuple(value.shape)}"
        row = key + value.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes()
        at = self._file.tell() // self._record.itemsize
        try:
            if self._file.write(row) < len(row):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            logger.warning("%s: takes no more (%s)", self.path, error.strerror or error)
            with contextlib.suppress(OSError):
                self._file.truncate(at * self._record.itemsize)
            self._bound = 0
            return
        self._at[key] = at

    def close(self) -> None:
        """Closes the file and its memory map."""
        self._file.close()
        self._map = None
