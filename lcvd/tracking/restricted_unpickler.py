"""An unpickler for FLAME's and DECA's files that can construct only the inert classes of this file.

A pickle is a program. Its opcodes are checked first without executing them; then `RestrictedUnpickler` runs it, and
its `find_class` resolves the names in `allowed_classes` and no others. numpy arrays, scipy.sparse matrices, chumpy
arrays, torch tensors and a few containers are rebuilt from their pickled state with plain numpy; no real numpy, scipy,
chumpy or torch constructor is reachable from a file. Every class has slots and checks sizes before it allocates.
"""

import io
import pickle
import pickletools
import re
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MAX_ARRAY_BYTES = 2 << 30  # of all arrays of one file together; FLAME has 0.05 GB
MAX_OPCODES = 2_000_000
MAX_TUPLES = 10_000  # hashing a tower of tuples recurses in C without a limit
_FORBIDDEN = {"EXT1", "EXT2", "EXT4", "PERSID", "INST", "OBJ", "NEXT_BUFFER", "READONLY_BUFFER", "NEWOBJ_EX"}
# torch.save's format before 1.6, still what a tensor inside another pickle holds.
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PROTOCOL = 1001
_CODE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|O8?|[SU]\d{1,4})")
_STORAGES = {
    **{"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8"},
    **{"IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1", "BoolStorage": "|b1"},
}


class Refused(ValueError):
    """A pickle asks for something that no FLAME or DECA file needs."""


class Budget:
    """Limit on the bytes of arrays that one file may unfold to, so that a few bytes cannot become gigabytes."""

    def __init__(self, left: int = MAX_ARRAY_BYTES) -> None:
        self.left = left

    def take(self, count: int, itemsize: int) -> None:
        """Raise Refused unless `count` items of `itemsize` bytes still fit."""
        if count < 0 or count * itemsize > self.left:
            raise Refused(
                f"an array of {count} × {itemsize} bytes is over the limit of {MAX_ARRAY_BYTES >> 20} MiB a file"
            )
        self.left -= count * itemsize


def product(shape: Any) -> int:
    """Number of elements of a pickled shape. Raises Refused for anything but up to 8 sizes ≥ 0."""
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise Refused(f"an array's shape is {str(shape)[:80]}")
    total = 1
    for n in shape:
        total *= n
    return total


def restricted_load(raw: bytes, budget: Budget) -> Any:
    """Unpickle `raw` into numpy arrays, containers and the inert classes below. Raises Refused, or pickle's errors."""
    stream = io.BytesIO(raw)
    _scan(stream, persistent=False)
    return RestrictedUnpickler(stream, budget).load()


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickler that resolves only the names of `allowed_classes`; every other name raises Refused."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        super().__init__(stream, encoding="latin1")
        self.classes = allowed_classes(budget, _storage_from_bytes)
        self.storages: dict[str, tuple[str, int]] = {}  # key → (dtype code, number of elements)

    def find_class(self, module: str, name: str) -> type:
        module = {"copy_reg": "copyreg", "__builtin__": "builtins"}.get(module, module)
        try:
            return self.classes[module, name]
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
    """Check the opcodes of one pickle without executing them, then rewind `stream`. Raises Refused."""
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
    """Read the one storage in torch's legacy stream: five pickles, then a count (int64) and the numbers."""
    if not isinstance(raw, bytes | bytearray):
        raise Refused("a torch storage that is not bytes")
    stream = io.BytesIO(bytes(raw))
    budget = Budget()
    parts = []
    storages: dict[str, tuple[str, int]] = {}
    for position in range(5):
        _scan(stream, persistent=position == 3)
        reader = RestrictedUnpickler(stream, budget)
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


def allowed_classes(budget: Budget, storage_from_bytes: Any) -> dict[tuple[str, str], type]:
    """Map (module, name), as pickles spell them, to inert classes that rebuild arrays and containers.

    `storage_from_bytes(bytes)` reads torch's legacy storage stream. The classes are made anew for each file, so that a
    BUILD opcode cannot change them for the next one.
    """

    class Dtype:
        __slots__ = ("code",)

        def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
            if not isinstance(code, str) or not _CODE.fullmatch(code):
                raise Refused(f"dtype {str(code)[:40]!r} is not a plain number or text")
            self.code = code

        def __setstate__(self, state: Any) -> None:
            if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
                raise Refused("a structured dtype")
            if state[1] not in ("<", ">", "|", "="):
                raise Refused(f"byte order {str(state[1])[:20]!r}")
            self.code = state[1] + self.code.lstrip("<>|=")

    class Array:
        __slots__ = ("value",)

        def __init__(self, *ignored: Any) -> None:
            self.value: NDArray = np.zeros(0)

        def __setstate__(self, state: Any) -> None:
            if not isinstance(state, tuple) or len(state) not in (4, 5):
                raise Refused("an array with an unknown state")
            shape, dtype, fortran, raw = state[-4:]
            self.value = from_raw(raw, dtype, shape, "F" if fortran else "C")

    def from_raw(raw: Any, dtype: Any, shape: Any, order: str) -> NDArray:
        if not isinstance(dtype, Dtype):
            raise Refused("an array without a dtype")
        count = product(shape)
        if isinstance(raw, list):
            if not dtype.code.endswith(("O", "O8")) or len(raw) != count:
                raise Refused("an object array whose list does not fit its shape")
            budget.take(count, 8)
            out = np.empty(count, object)
            out[:] = raw if count != 1 else None
            if count == 1:  # numpy would look inside a list of one
                out[0] = raw[0]
            return out.reshape(shape, order=order)  # type: ignore[call-overload]
        if isinstance(raw, str):
            raw = raw.encode("latin1")  # Python 2's str
        if not isinstance(raw, bytes | bytearray):
            raise Refused(f"an array whose data is {type(raw).__name__}")
        kind = np.dtype(dtype.code)
        if kind.hasobject or count * kind.itemsize != len(raw):
            raise Refused(f"an array of shape {shape} and {kind} with {len(raw)} bytes of data")
        budget.take(count, kind.itemsize)
        return np.frombuffer(bytes(raw), kind).reshape(shape, order=order)  # type: ignore[call-overload]

    class Reconstruct:
        def __new__(cls, subtype: Any, shape: Any, code: Any) -> Any:
            if subtype is not Array:
                raise Refused("an ndarray of a foreign class")
            return Array()

    class FromBuffer:
        def __new__(cls, raw: Any, dtype: Any, shape: Any, order: Any) -> Any:
            out = Array()
            out.value = from_raw(raw, dtype, shape, "F" if order == "F" else "C")
            return out

    class Scalar:
        def __new__(cls, dtype: Any, raw: Any) -> Any:
            return from_raw(raw, dtype, (), "C").item()

    class Sparse:
        __slots__ = ("kind", "state")
        layout = ""

        def __init__(self, *ignored: Any) -> None:
            self.state: dict[str, Any] = {}

        def __setstate__(self, state: Any) -> None:
            self.state = state if isinstance(state, dict) else {}

        def dense(self, arrays: dict[str, Any]) -> NDArray:
            return _dense(self.layout, arrays, budget)

    class Chumpy:
        __slots__ = ("state",)
        kind = ""

        def __init__(self, *ignored: Any) -> None:
            self.state: dict[str, Any] = {}

        def __setstate__(self, state: Any) -> None:
            self.state = state if isinstance(state, dict) else {}

    class Reconstructor:  # copyreg's, for objects of pickle protocol 0 and 1
        def __new__(cls, wanted: Any, base: Any = None, state: Any = None) -> Any:
            if wanted not in reconstructable:
                raise Refused("copyreg is asked for a foreign class")
            return wanted()

    class Encode:
        def __new__(cls, text: Any, codec: Any = "latin1") -> Any:
            if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
                raise Refused("an encoding other than latin1")
            return text.encode("latin1")

    class Bytes:
        def __new__(cls, *args: Any) -> Any:
            if args:
                raise Refused("bytes made from something")
            return b""

    class Ordered:
        def __new__(cls, pairs: Any = ()) -> Any:
            return dict(pairs) if isinstance(pairs, list | tuple) else {}

    class Set:
        def __new__(cls, items: Any = ()) -> Any:
            return set(items) if isinstance(items, list | tuple) else set()

    class Object:
        __slots__ = ()

    class LoadFromBytes:
        def __new__(cls, raw: Any) -> Any:
            out = Array()
            out.value = storage_from_bytes(raw.encode("latin1") if isinstance(raw, str) else raw)
            return out

    class RebuildTensor:
        def __new__(cls, storage: Any, offset: Any, size: Any, stride: Any, *ignored: Any) -> Any:
            if not isinstance(storage, Array):
                raise Refused("a tensor without a storage")
            out = Array()
            out.value = _strided(storage.value, offset, size, stride, budget)
            return out

    def named(base: type, **attributes: Any) -> type:
        return type(base.__name__, (base,), {"__slots__": (), **attributes})

    ch, select = named(Chumpy, kind="Ch"), named(Chumpy, kind="Select")
    sparse = {kind: named(Sparse, layout=kind) for kind in ("csc", "csr", "coo")}
    reconstructable = [Array, ch, select, *sparse.values()]
    out: dict[tuple[str, str], type] = {
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): Dtype,
        ("copyreg", "_reconstructor"): Reconstructor,
        ("_codecs", "encode"): Encode,
        ("builtins", "bytes"): Bytes,
        ("builtins", "object"): Object,
        ("builtins", "set"): Set,
        ("builtins", "frozenset"): Set,
        ("collections", "OrderedDict"): Ordered,
        ("chumpy.ch", "Ch"): ch,
        ("chumpy", "Ch"): ch,
        ("chumpy.reordering", "Select"): select,
        ("torch.storage", "_load_from_bytes"): LoadFromBytes,
        ("torch._utils", "_rebuild_tensor_v2"): RebuildTensor,
        ("torch._utils", "_rebuild_tensor"): RebuildTensor,
    }
    for core in ("numpy.core", "numpy._core"):
        out[f"{core}.multiarray", "_reconstruct"] = Reconstruct
        out[f"{core}.multiarray", "scalar"] = Scalar
        out[f"{core}.numeric", "_frombuffer"] = FromBuffer
    for kind, cls in sparse.items():
        for module in ("scipy.sparse", f"scipy.sparse.{kind}", f"scipy.sparse._{kind}"):
            out[module, f"{kind}_matrix"] = out[module, f"{kind}_array"] = cls
    for name, code in _STORAGES.items():
        out["torch", name] = type(name, (), {"__slots__": (), "code": code})
    return out


def _dense(layout: str, state: dict[str, Any], budget: Budget) -> NDArray:
    """The matrix of scipy's csc, csr or coo attributes, duplicates added as scipy does."""
    shape = state.get("_shape", state.get("shape"))
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise Refused("a sparse matrix without a shape")
    shape = (int(shape[0]), int(shape[1]))
    count = product(shape)
    data = state.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 1:
        raise Refused("a sparse matrix without data")
    budget.take(count, data.itemsize)
    if layout == "coo":
        rows, columns = state.get("row"), state.get("col")
        if rows is None:
            rows, columns = state.get("coords") or (None, None)
    else:
        minor, pointer = state.get("indices"), state.get("indptr")
        lines = shape[0] if layout == "csr" else shape[1]
        if not isinstance(pointer, np.ndarray) or pointer.shape != (lines + 1,) or (np.diff(pointer) < 0).any():
            raise Refused("a sparse matrix with a broken indptr")
        if pointer[0] != 0 or pointer[-1] != len(data):
            raise Refused("a sparse matrix whose indptr does not fit its data")
        major = np.repeat(np.arange(lines), np.diff(pointer))
        rows, columns = (major, minor) if layout == "csr" else (minor, major)
    for index, size in ((rows, shape[0]), (columns, shape[1])):
        if not isinstance(index, np.ndarray) or index.shape != data.shape or index.dtype.kind not in "iu":
            raise Refused("a sparse matrix with broken indices")
        if len(index) and (index.min() < 0 or index.max() >= size):
            raise Refused("a sparse matrix with an index outside its shape")
    out = np.zeros(shape, data.dtype)
    np.add.at(out, (np.asarray(rows), np.asarray(columns)), data)
    return out


def _strided(flat: NDArray, offset: Any, size: Any, stride: Any, budget: Budget) -> NDArray:
    """A tensor's elements of its storage, copied. Every index is inside the storage or the file is refused."""
    count = product(size)
    if not isinstance(stride, tuple) or len(stride) != len(size) or type(offset) is not int or offset < 0:
        raise Refused("a tensor with a broken size or stride")
    if not all(type(n) is int and n >= 0 for n in stride):
        raise Refused("a tensor with a negative stride")
    budget.take(count, flat.itemsize + 8)  # the indices too
    if count == 0:
        return np.zeros(size, flat.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= flat.size:
        raise Refused(f"a tensor reaches element {last} of a storage of {flat.size}")
    index = np.full((), offset, np.int64)
    for n, step in zip(size, stride, strict=True):
        index = index[..., None] + np.arange(n) * step
    return flat[index]
