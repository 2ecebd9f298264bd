"""A weight file of unknown origin becomes a flat mapping of names to tensors, or a WeightsError; it never runs code.

safetensors, and torch's zip and legacy formats read with `weights_only=True`. Zip archives are checked first: torch
stores tensors uncompressed, so an archive that unpacks to more than itself is refused before it is opened. Tensors are
memory-mapped where the format allows, so nothing is read before it is used.
"""

import hashlib
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lcvd.errors import WeightsError

# Errors of torch's restricted unpickler on damaged bytes; tests cut and flip bytes to find them.
_DAMAGE = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
)
_AGAIN = "fetch or copy the file again; relight weights verify checks the whole folder"
_FOREIGN = "take the file from where it was published; it must hold plain tensors only"
_HEAD_BYTES = 512  # enough to tell what was saved in a weight file's place
_ASKED_FOR = re.compile(r"(?:GLOBAL|[Tt]rying to (?:call|instantiate)|class) ([\w.]+)")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors, .pth, .pt or .bin state dict on the CPU. Raises WeightsError naming the file."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file", "relight weights fetch")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: the file is empty", _AGAIN)
    _refuse_stand_in(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise WeightsError(f"{path}: not a whole safetensors file ({_first_line(error)})", _AGAIN) from error
    return _flat(path, read_torch(path))


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 as hex, reading it in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_torch(path: Path) -> object:
    """Read a torch.save file on the CPU, tensors and plain containers only. Raises WeightsError naming the file."""
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _refuse_zip_bomb(path)
    elif _starts_like_zip(path):
        raise WeightsError(f"{path}: the archive is cut off", _AGAIN)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        # torch's own words advise to switch its protection off, so they are not passed on.
        asked = _ASKED_FOR.search(str(error))
        if asked is not None:
            raise WeightsError(
                f"{path}: refused, the pickle asks for more than tensors ({asked[1]})", _FOREIGN
            ) from error
        raise WeightsError(
            f"{path}: refused, no plain file of tensors as torch writes them, or a damaged one", _AGAIN
        ) from error
    except _DAMAGE as error:
        raise WeightsError(f"{path}: cannot be read, probably cut off ({_first_line(error)})", _AGAIN) from error


def damaged_record(path: Path) -> str:
    """Return the first record of a zip archive whose CRC-32 does not fit its bytes; "" without one, or of no archive.

    Reads the whole file, in pieces. torch maps records without looking at their checksums.
    """
    if not zipfile.is_zipfile(path):
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() or ""
    except (zipfile.BadZipFile, *_DAMAGE) as error:
        return _first_line(error)


def _refuse_stand_in(path: Path) -> None:
    """Raise WeightsError for what a download leaves in a weight file's place: a web page, an LFS pointer, JSON."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path}: a pointer of Git LFS, not the weights themselves", "git lfs pull, or relight weights fetch"
        )
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise WeightsError(
            f"{path}: a web page, not weights", "download the file itself (a login or licence page came instead)"
        )
    if head.startswith((b"{", b"[")):
        raise WeightsError(f"{path}: JSON text, not weights", "download the file itself (an answer of the site came)")


def _refuse_zip_bomb(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, *_DAMAGE) as error:
        raise WeightsError(f"{path}: not a whole archive ({error})", _AGAIN) from error
    if packed or unpacked > path.stat().st_size:
        raise WeightsError(
            f"{path}: refused, unpacks to {unpacked:,} bytes from {path.stat().st_size:,}; torch never compresses",
            _FOREIGN,
        )


def _flat(path: Path, loaded: object) -> dict[str, Tensor]:
    """Return the state dict itself, or the one under `state_dict`."""
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path}: holds a {type(loaded).__name__}, not a state dict", _FOREIGN)
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{path}: entry {name!r} is a {type(value).__name__}, not a tensor", _FOREIGN)
    return dict(loaded)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def _starts_like_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"
