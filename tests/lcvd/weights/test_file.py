"""Weight files: cut off, damaged, hostile or foreign ones are refused with a WeightsError."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from safetensors.torch import save_file  # noqa: E402

from lcvd.errors import WeightsError  # noqa: E402
from lcvd.weights.file import read_tensors  # noqa: E402
from lcvd.weights.load import SVD_FOLDER  # noqa: E402


@pytest.mark.parametrize("name", ["unet.pth", f"{SVD_FOLDER}/image_encoder/model.fp16.safetensors", "legacy.pth"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.4, 0.999])
def test_truncated_files_are_refused(folder: Path, name: str, kept: float) -> None:
    """Cut off anywhere, a zip, legacy or safetensors file is a WeightsError that names it."""
    path = folder / name
    if name == "legacy.pth":
        state = torch.load(folder / "unet.pth", weights_only=True)
        torch.save(state, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert read_tensors(path)
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(WeightsError, match=path.name) as caught:
        read_tensors(path)
    assert caught.value.hint


@pytest.mark.filterwarnings("ignore")  # torch warns of the odd pickle protocols that damage makes
@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "whole.safetensors"])
def test_damaged_bytes_never_escape_the_error(tmp_path: Path, name: str) -> None:
    """Whatever bytes are wrong, the file is read or refused with a WeightsError; nothing else is raised."""
    path, state = tmp_path / name, {"a.weight": torch.ones(3, 4), "b": torch.ones(5)}
    if name.endswith("safetensors"):
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=name == "zip.pth")
    data, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for case in range(150):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(0, min(len(data), 1200), 1 + case % 4)] = rng.integers(0, 256)
        path.write_bytes(damaged[: len(data) if case % 2 else rng.integers(0, len(data))].tobytes())
        try:
            read_tensors(path)
        except WeightsError:
            refused += 1
    assert refused > 60


class Bomb:
    """A pickle that writes a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["zip", "legacy", "plain pickle", "inside a tensor dict"])
def test_pickle_bombs_do_not_run(tmp_path: Path, kind: str) -> None:
    """A hostile pickle is refused in every torch format and does nothing."""
    mark, path = tmp_path / "executed", tmp_path / "unet.pth"
    bomb: object = Bomb(mark)
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps(bomb))
    elif kind == "inside a tensor dict":
        torch.save({"conv_in.weight": torch.zeros(3), "conv_in.bias": bomb}, path)
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match=r"unet\.pth"):
        read_tensors(path)
    assert not mark.exists()


def test_zip_bomb_is_refused_unopened(tmp_path: Path) -> None:
    """An archive with compressed entries is no torch file, and is refused before anything is unpacked."""
    plain = io.BytesIO()
    torch.save({"a": torch.zeros(2_000_000)}, plain)
    path = tmp_path / "unet.pth"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in source.namelist():
            packed.writestr(entry, source.read(entry))
    with pytest.raises(WeightsError, match="unpacks to 8,"):
        read_tensors(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": "text"}, {3: torch.zeros(1)}, torch.zeros(3)])
def test_other_contents_are_refused(tmp_path: Path, content: object) -> None:
    """Something that is not a flat mapping of names to tensors is named for what it is."""
    torch.save(content, tmp_path / "unet.pth")
    with pytest.raises(WeightsError, match="not a"):
        read_tensors(tmp_path / "unet.pth")


@pytest.mark.parametrize("name", ["unet.pth", "unet.safetensors"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>", "a web page"),
        (b"\n  <html lang='en'>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3438167534\n", "a pointer of Git LFS"),
        (b'{"error": "Access to model is restricted"}', "JSON text"),
    ],
)
def test_what_a_download_leaves_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """A web page, an LFS pointer or a site's answer under a weight file's name is called what it is."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        read_tensors(path)
    assert "weights_only" not in caught.value.message + caught.value.hint


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    """The class that a pickle asks for is named; torch's advice to switch its protection off is not passed on."""
    torch.save({"a": torch.zeros(1), "b": Bomb(tmp_path / "executed")}, tmp_path / "unet.pth")
    with pytest.raises(WeightsError, match=r"more than tensors \(getattr\)") as caught:
        read_tensors(tmp_path / "unet.pth")
    (tmp_path / "text.pth").write_bytes(b"\x01these are no weights\n" * 40)
    with pytest.raises(WeightsError, match="no plain file of tensors") as plain:
        read_tensors(tmp_path / "text.pth")
    for error in (caught.value, plain.value):
        assert "weights_only" not in error.message + error.hint
