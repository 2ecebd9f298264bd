"""FLAME's and DECA's pickles → plain dicts of numpy arrays, without running anything that stands in them.

A pickle is a program. This reader (1) walks its opcodes without executing them and refuses those that no such file
needs, then (2) runs it with an Unpickler whose `find_class` knows only the inert stand-ins of `lcvd.tracking.inert`,
then (3) turns what came out into numpy. chumpy arrays (`generic_model.pkl`), scipy.sparse (its joint regressor) and
torch tensors inside a `.npy` (`landmark_embedding.npy`) are read without those packages; everything else is refused.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable
from lcvd.tracking.inert import Budget, Refused, product, stand_ins

MAX_FILE_BYTES = 512 << 20  # FLAME 2020's generic_model.pkl has 53 MB, FLAME 2023's 104 MB
MAX_OPCODES = 2_000_000
MAX_TUPLES = 10_000  # hashing a tower of tuples recurses in C without a limit
REMEDY = "take it again from where you got it (docs/deca.md); it was not executed"
_FORBIDDEN = {"EXT1", "EXT2", "EXT4", "PERSID", "INST", "OBJ", "NEXT_BUFFER", "READONLY_BUFFER", "NEWOBJ_EX"}
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError),
    *(MemoryError, OverflowError, RecursionError, OSError),
)
# torch.save's format before 1.6, still what a tensor inside another pickle holds.
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PROTOCOL = 1001


def load_pickle(path: Path) -> dict[str, Any]:
    """The dict in `path`: numpy arrays, numbers, strings and containers of them. Raises ModelUnavailable."""
    raw = _read(path)
    try:
        out = loads(raw)
    except _BROKEN as error:
        raise _broken(path, error) from error
    if not isinstance(out, dict):
        raise ModelUnavailable(f"{path.name} holds a {type(out).__name__}, not a dict", REMEDY)
    return out


def load_object_npy(path: Path) -> dict[str, Any]:
    """The dict that `numpy.save` put into `path` as an object array (DECA's landmark_embedding.npy)."""
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
    """What the pickle `raw` holds, in plain numpy. Raises Refused, or what a broken pickle raises."""
    budget = Budget()
    stream = io.BytesIO(raw)
    _scan(stream, persistent=False)
    return _plain(_Reader(stream, budget).load(), {}, budget)


class _Reader(pickle.Unpickler):
    """Knows the stand-ins and nothing else."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        super().__init__(stream, encoding="latin1")
        self.names = stand_ins(budget, _storage_from_bytes)
        self.storages: dict[str, tuple[str, int]] = {}  # key → (dtype code, number of elements)

    def find_class(self, module: str, name: str) -> type:
        module = {"copy_reg": "copyreg", "__builtin__": "builtins"}.get(module, module)
        try:
            return self.names[module, name]
        except KeyError:
            raise Refused(f"it names {module}.{name}") from None

    def persistent_load(self, pid: Any) -> str:
        # Only inside a torch storage: `_scan` lets no other pickle have one.
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise Refused("an unknown persistent id")
        code, key, count = getattr(pid[1], "code", None), pid[2], pid[4]
        if not isinstance(code, str) or not isinstance(key, str) or type(count) is not int:
            raise Refused("an unknown torch storage")
        self.storages[key] = (code, count)
        return key


def _scan(stream: IO[bytes], *, persistent: bool) -> None:
    """Walk one pickle from where `stream` stands, executing nothing, and go back."""
    start = stream.tell()
    tuples = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        name = opcode.name
        if number >= MAX_OPCODES:
            raise Refused(f"more than {MAX_OPCODES} opcodes")
        if name in _FORBIDDEN or (name == "BINPERSID" and not persistent):
            raise Refused(f"opcode {name}")
        if "PUT" in name and isinstance(argument, int) and argument > 2 * number + 64:
            raise Refused(f"memo slot {argument}: a memory bomb")
        tuples += name.startswith("TUPLE")
        if tuples > MAX_TUPLES:
            raise Refused(f"more than {MAX_TUPLES} tuples")
    stream.seek(start)


def _storage_from_bytes(raw: Any) -> NDArray:
    """The one storage in torch's legacy stream: five pickles, then a count (int64) and the numbers."""
    if not isinstance(raw, bytes | bytearray):
        raise Refused("a torch storage that is not bytes")
    stream = io.BytesIO(bytes(raw))
    budget = Budget()
    parts = []
    storages: dict[str, tuple[str, int]] = {}
    for position in range(5):
        _scan(stream, persistent=position == 3)
        reader = _Reader(stream, budget)
        parts.append(reader.load())
        storages |= reader.storages
    magic, protocol, _, key, keys = parts
    if magic != _TORCH_MAGIC or protocol != _TORCH_PROTOCOL or keys != [key] or key not in storages:
        raise Refused("a torch storage of an unknown format")
    code, count = storages[key]
    stored = int.from_bytes(stream.read(8), "little")
    body = stream.read()
    if stored != count or len(body) != count * np.dtype(code).itemsize:
        raise Refused(f"a torch storage of {count} × {code} with {len(body)} bytes")
    return np.frombuffer(body, code)


def _plain(value: Any, seen: dict[int, Any], budget: Budget) -> Any:
    """Stand-ins become arrays. Each object once: shared parts stay shared, and so cannot multiply."""
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
