"""Reads FLAME's and DECA's pickles into plain dicts of numpy arrays without running the code they name.

`lcvd.tracking.restricted_unpickler` checks a pickle's opcodes and loads it with inert classes in place of those it
names; this file turns the result into numpy. chumpy arrays (`generic_model.pkl`), scipy.sparse (its joint regressor)
and torch tensors inside a `.npy` (`landmark_embedding.npy`) are read without those packages; all else is refused.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable
from lcvd.tracking.restricted_unpickler import Budget, Refused, product, restricted_load

MAX_FILE_BYTES = 512 << 20  # FLAME 2020's generic_model.pkl has 53 MB, FLAME 2023's 104 MB
REMEDY = "take it again from where you got it (docs/deca.md); it was not executed"
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError),
    *(MemoryError, OverflowError, RecursionError, OSError),
)


def load_pickle(path: Path) -> dict[str, Any]:
    """Read the dict in `path`: numpy arrays, numbers, strings and containers of them. Raises ModelUnavailable."""
    raw = _read(path)
    try:
        out = loads(raw)
    except _BROKEN as error:
        raise _broken(path, error) from error
    if not isinstance(out, dict):
        raise ModelUnavailable(f"{path.name} holds a {type(out).__name__}, not a dict", REMEDY)
    return out


def load_object_npy(path: Path) -> dict[str, Any]:
    """Read the dict that `numpy.save` put into `path` as an object array (DECA's landmark_embedding.npy)."""
    stream = io.BytesIO(_read(path))
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        if not dtype.hasobject or product(shape) != 1:
            raise Refused(f"{dtype} of shape {shape}, not one dict")
        out = loads(stream.read())
        out = out.item() if isinstance(out, np.ndarray) and out.size == 1 else out
    except _BROKEN as error:
        raise _broken(path, error) from error
    if not isinstance(out, dict):
        raise ModelUnavailable(f"{path.name} holds a {type(out).__name__}, not a dict", REMEDY)
    return out


def loads(raw: bytes) -> Any:
    """Read the pickle `raw` into plain numpy. Raises Refused, or pickle's errors when it is broken."""
    budget = Budget()
    return _plain(restricted_load(raw, budget), {}, budget)


def _plain(value: Any, seen: dict[int, Any], budget: Budget) -> Any:
    """Turn the inert objects into arrays. Each is converted once, so shared parts cannot multiply."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | bytearray):
        return value
    if id(value) in seen:
        done = seen[id(value)]
        if done is _OPEN:
            raise Refused("an object that contains itself")
        return done[1]
    seen[id(value)] = _OPEN
    kind = type(value).__name__
    out: Any
    if isinstance(value, dict):
        out = {_key(k): _plain(v, seen, budget) for k, v in value.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        out = type(value)(_plain(v, seen, budget) for v in value)
    elif isinstance(value, np.ndarray):
        out = value
        if value.dtype.hasobject:
            out = np.empty(value.shape, object)
            for index in np.ndindex(value.shape):
                out[index] = _plain(value[index], seen, budget)
    elif kind == "Array" and not isinstance(value, type):
        out = _plain(value.value, seen, budget)
    elif kind == "Sparse" and not isinstance(value, type):
        out = value.dense(_plain(value.state, seen, budget))
    elif kind == "Chumpy" and not isinstance(value, type):
        out = _chumpy(value.kind, value.state, seen, budget)
    else:
        raise Refused(f"a bare {kind}")
    # Keep the original alive with the result, so that its id is not given to another object.
    seen[id(value)] = (value, out)
    return out


_OPEN = object()


def _key(key: Any) -> Any:
    if isinstance(key, bytes):
        return key.decode("latin1")
    if not isinstance(key, str | int | float):
        raise Refused(f"a dict key of type {type(key).__name__}")
    return key


def _chumpy(kind: str, state: dict[str, Any], seen: dict[int, Any], budget: Budget) -> NDArray:
    """The value of a chumpy node: Ch holds it in `x`; Select takes `idxs` of another node `a`, flattened."""
    if kind == "Ch":
        if "x" not in state:
            raise Refused("a chumpy array without a value")
        return np.asarray(_plain(state["x"], seen, budget))
    source = np.asarray(_plain(state.get("a"), seen, budget)).ravel()
    index = np.asarray(_plain(state.get("idxs"), seen, budget)).ravel()
    if index.dtype.kind not in "iu":
        raise Refused("a chumpy selection without indices")
    shape = state.get("preferred_shape")
    shape = tuple(shape) if isinstance(shape, tuple | list) else (len(index),)
    if product(shape) != len(index):
        raise Refused("a chumpy selection that does not fit its shape")
    return source[index].reshape(shape)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelUnavailable(f"{path} has more than {MAX_FILE_BYTES >> 20} MiB", REMEDY)
        return path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(f"{path} cannot be read: {error.strerror or error}", "see docs/deca.md") from error


def _broken(path: Path, error: BaseException) -> ModelUnavailable:
    if isinstance(error, Refused):
        return ModelUnavailable(f"{path.name} is refused: {error}", REMEDY)
    return ModelUnavailable(f"{path.name} is truncated or no pickle: {error or type(error).__name__}", REMEDY)
