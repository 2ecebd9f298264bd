"""lcvd.tracking.flame_pickle reads FLAME's and DECA's pickles and runs no code that they name."""

import io
import os
import pickle
import struct

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable
from lcvd.tracking.flame_pickle import load_object_npy, load_pickle
from tests.lcvd.tracking.synthetic_flame import csc_state, foreign_modules, with_state


def write(tmp_path, raw: bytes):
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(raw)
    return path


def refused(tmp_path, raw: bytes, match: str = ".") -> None:
    with pytest.raises(ModelUnavailable, match=match) as error:
        load_pickle(write(tmp_path, raw))
    assert error.value.hint


# Honest files


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_arrays_of_every_protocol(tmp_path, protocol):
    """Arrays come back equal, whatever their order, type and pickle protocol."""
    wanted = {
        "c": np.arange(12.0).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.uint32).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "none": np.zeros((0, 3)),
        "one": np.float64(2.5),
        "text": "lbs",
        "bytes": b"raw",
        "nested": [(1, 2.0, None), {"deep": np.array([True, False])}],
    }
    got = load_pickle(write(tmp_path, pickle.dumps(wanted, protocol)))
    for key in ("c", "fortran", "big", "none"):
        np.testing.assert_array_equal(got[key], wanted[key])
        assert got[key].dtype == wanted[key].dtype
    assert got["one"] == 2.5
    assert (got["text"], got["bytes"]) == ("lbs", b"raw")
    assert got["nested"][0] == (1, 2.0, None)
    assert got["nested"][1]["deep"].tolist() == [True, False]


def test_python_2_array(tmp_path):
    """Python 2 wrote an array's bytes as a str; they are the same numbers."""
    numbers = np.array([1.5, -2.0, 3e300])
    raw = numbers.tobytes()
    head = b"}U\x01acnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    body = head + b"(K\x01(K\x03t" + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tbs."
    np.testing.assert_array_equal(load_pickle(write(tmp_path, b"\x80\x02" + body))["a"], numbers)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_chumpy_and_sparse_become_arrays(tmp_path, protocol):
    """Ch gives its value, Select the chosen elements, a csc_matrix its dense form; none of them is installed."""
    dense = np.array([[0, 2.0, 0, 1], [3, 0, 0, 0]])
    table = np.arange(6.0).reshape(2, 3)
    with foreign_modules() as modules:
        ch = with_state(modules["chumpy.ch"].Ch, x=table, dterms=["x"], _dirty_vars=set())
        select = with_state(modules["chumpy.reordering"].Select, a=ch, idxs=np.array([5, 0]), preferred_shape=(2, 1))
        sparse = with_state(modules["scipy.sparse.csc"].csc_matrix, **csc_state(dense))
        raw = pickle.dumps({"ch": ch, "select": select, "sparse": sparse, "again": ch}, protocol)
    got = load_pickle(write(tmp_path, raw))
    np.testing.assert_array_equal(got["ch"], table)
    assert got["again"] is got["ch"]
    np.testing.assert_array_equal(got["select"], [[5.0], [0.0]])
    np.testing.assert_array_equal(got["sparse"], dense)


def test_real_scipy_and_torch(tmp_path):
    """Pickles of today's scipy and torch are read without them."""
    sparse = pytest.importorskip("scipy.sparse", reason="pip install scipy")
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    dense = np.array([[0, 2.0, 0], [3, 0, 4.0]])
    wanted = {
        "csc": sparse.csc_matrix(dense),
        "csr": sparse.csr_matrix(dense),
        "coo": sparse.coo_matrix(dense),
        "long": torch.arange(12).reshape(3, 4)[:, 1:].T,
        "float": torch.linspace(0, 1, 5),
    }
    got = load_pickle(write(tmp_path, pickle.dumps(wanted)))
    for key in ("csc", "csr", "coo"):
        np.testing.assert_array_equal(got[key], dense)
    np.testing.assert_array_equal(got["long"], wanted["long"].numpy())
    np.testing.assert_array_equal(got["float"], wanted["float"].numpy())


def test_object_npy(tmp_path):
    """The dict that numpy.save put into a .npy is read; a plain array and a pickle without a header are refused."""
    path = tmp_path / "landmark_embedding.npy"
    np.save(path, {"static_lmk_faces_idx": np.arange(3)}, allow_pickle=True)
    assert load_object_npy(path)["static_lmk_faces_idx"].tolist() == [0, 1, 2]
    np.save(path, np.arange(3))
    with pytest.raises(ModelUnavailable, match="refused"):
        load_object_npy(path)
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(ModelUnavailable, match="truncated or no pickle"):
        load_object_npy(path)


# Hostile files


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.fixture
def sentinel(tmp_path):
    """A path that the attacks try to create; afterwards it must not exist."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


def attacks(target: str) -> dict[str, bytes]:
    """name → a pickle that creates `target` when a plain pickle.loads runs it."""
    code = f"open({target!r}, 'w').close()"
    touch = f"touch {target}".encode()
    inner = pickle.dumps(Call(os.system, f"touch {target}"))
    out = {
        "os.system": pickle.dumps({"v_template": Call(os.system, f"touch {target}")}),
        "eval": pickle.dumps(Call(eval, code)),
        "exec": pickle.dumps(Call(exec, code), 0),
        "open": pickle.dumps(Call(open, target, "w")),
        "inst": b"(S'" + touch + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + touch + b"'\no.",
        "nested loads": pickle.dumps(Call(pickle.loads, inner)),
        "import": b"cbuiltins\n__import__\n(S'os'\ntR.",
        "getattr": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93(" + b"\x8c\x01xtR.",
        "numpy gadget": b"cnumpy\nload\n(S'" + target.encode() + b"'\ntR.",
        "numpy runner": b"cnumpy.testing._private.utils\nrunstring\n(S\"" + code.encode() + b"\"\n}tR.",
        "scipy gadget": b"cscipy.io\nsavemat\n(S'" + target.encode() + b"'\n}tR.",
        "scipy module": b"cscipy.sparse._csc\nos\n(tR.",
        "torch gadget": pickle.dumps({"x": 1})[:-1] + b"ctorch.storage\n_load_from_bytes\n("
        + b"C" + bytes([len(inner)]) + inner + b"tR0.",
        "copyreg": b"ccopy_reg\n_reconstructor\n(cos\n_wrap_close\nc__builtin__\nobject\nNtR.",
        "persistent": b"\x80\x02U\x04evilQ.",
        "extension": b"\x80\x02\x82\x01.",
    }  # fmt: skip
    return out


def test_the_attacks_are_real(tmp_path):
    """The first three do create their target when a plain unpickler runs them: the test can fail."""
    for name in ("os.system", "eval", "exec", "inst", "nested loads"):
        target = tmp_path / name.replace(" ", "-")
        pickle.loads(attacks(str(target))[name])
        assert target.exists(), name


@pytest.mark.parametrize("name", sorted(attacks("x")))
def test_nothing_is_executed(tmp_path, sentinel, name):
    """A hostile pickle is refused and its payload has not run."""
    refused(tmp_path, attacks(str(sentinel))[name], "refused|no pickle")


@pytest.mark.parametrize("name", ["os.system", "torch gadget"])
def test_nothing_is_executed_in_a_npy(tmp_path, sentinel, name):
    """The pickle inside a .npy is read by the same reader."""
    path = tmp_path / "landmark_embedding.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(header.getvalue() + attacks(str(sentinel))[name])
    with pytest.raises(ModelUnavailable, match="refused"):
        load_object_npy(path)


def test_a_file_leaves_no_trace(tmp_path):
    """BUILD on one of the stand-in classes changes nothing for the next file."""
    for state in (b"}S'__init__'\nNs", b"N}S'value'\nNs\x86", b"(K\x01K\x02t"):
        refused(tmp_path, b"\x80\x02cnumpy\nndarray\n" + state + b"b.")
    wanted = np.arange(3)
    np.testing.assert_array_equal(load_pickle(write(tmp_path, pickle.dumps({"a": wanted})))["a"], wanted)


def storage(numbers: np.ndarray) -> bytes:
    """torch's legacy stream of one LongStorage, as torch.storage.__reduce__ writes it."""
    pid = b"(U\x07storagectorch\nLongStorage\nU\x010U\x03cpuK" + bytes([len(numbers)]) + b"NtQ."
    parts = [pickle.dumps(n, 2) for n in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    tail = pickle.dumps(["0"], 2) + struct.pack("<q", len(numbers)) + numbers.astype("<i8").tobytes()
    return b"".join(parts) + b"\x80\x02" + pid + tail


def tensor(raw: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A pickled tensor over a storage stream."""
    load = b"ctorch.storage\n_load_from_bytes\n(B" + struct.pack("<i", len(raw)) + raw + b"tR"
    rest = b"".join(pickle.dumps(x, 2)[2:-1] for x in (offset, size, stride))
    # dumps memoises tuples into slots the outer pickle does not read: harmless.
    return b"\x80\x03}U\x01tctorch._utils\n_rebuild_tensor_v2\n(" + load + rest + b"\x89}tRs."


def test_tensor_reaches_only_its_storage(tmp_path):
    """A strided tensor is copied out of its storage; one step beyond it is refused."""
    numbers = np.arange(6)
    got = load_pickle(write(tmp_path, tensor(storage(numbers), 1, (2, 2), (3, 1))))["t"]
    np.testing.assert_array_equal(got, [[1, 2], [4, 5]])
    refused(tmp_path, tensor(storage(numbers), 2, (2, 2), (3, 1)), "storage of 6")
    refused(tmp_path, tensor(storage(numbers), 0, (2**40,), (0,)), "over the limit")
    refused(tmp_path, tensor(storage(numbers)[:-3], 0, (1,), (1,)), "storage of 6")


def bombs() -> dict[str, bytes]:
    """name → a small pickle that would need absurd memory, time or stack."""
    laughs = b"\x80\x02]q\x00"
    for level in range(30):
        laughs += b"]q" + bytes([level + 1]) + b"(" + (b"h" + bytes([level])) * 10 + b"e"
    with foreign_modules() as modules:
        empty = {"data": np.zeros(0), "indices": np.zeros(0, np.int32), "indptr": np.zeros(1_000_001, np.int32)}
        wide = with_state(modules["scipy.sparse.csc"].csc_matrix, _shape=(1_000_000, 1_000_000), **empty)
        sparse = pickle.dumps({"J": wide}, 2)
    array = pickle.dumps({"a": np.zeros(1, np.float32)}, 2)
    return {
        "memo": b"\x80\x02]r\xff\xff\xff\x7f.",
        "laughs": laughs + b".",
        "sparse": sparse,
        "shape": array.replace(b"K\x01\x85", b"J\xff\xff\xff\x7f\x85"),
        "tower": b"\x80\x02}" + b"N" + b"\x85" * 200_000 + b"Ns.",
        "depth": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "long": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "bytes8": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00.",
    }


@pytest.mark.parametrize("name", sorted(bombs()))
def test_bombs_are_refused(tmp_path, name):
    """A few bytes that ask for absurd memory, time or stack give an error instead."""
    refused(tmp_path, bombs()[name])


def test_truncated_at_every_byte(tmp_path):
    """A file cut anywhere is an error that names the file."""
    raw = pickle.dumps({"a": np.arange(3), "b": ["x", (1, 2)]}, 2)
    for length in range(len(raw)):
        refused(tmp_path, raw[:length], "generic_model.pkl")


def test_flipped_bytes(tmp_path):
    """Random damage gives an error or some dict, never another exception."""
    with foreign_modules() as modules:
        ch = with_state(modules["chumpy.ch"].Ch, x=np.arange(4.0))
        raw = pickle.dumps({"a": np.arange(3), "ch": ch, "s": [1.5, None, "t"]}, 2)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(raw)
        for at in rng.integers(0, len(raw), rng.integers(1, 4)):
            damaged[at] = rng.integers(0, 256)
        try:
            outcomes.add(type(load_pickle(write(tmp_path, bytes(damaged)))))
        except ModelUnavailable as error:
            outcomes.add(type(error))
    assert outcomes == {dict, ModelUnavailable}


def test_missing_and_foreign_files(tmp_path):
    """No file, a directory, an empty file, text, and a pickle of something else are named."""
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        load_pickle(tmp_path / "absent.pkl")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        load_pickle(tmp_path)
    refused(tmp_path, b"", "truncated or no pickle")
    refused(tmp_path, b"<html>404</html>", "no pickle")
    refused(tmp_path, pickle.dumps([1]), "holds a list")
