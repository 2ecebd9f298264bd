"""Conversion to the one layout, verification of a folder, and its description."""

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.errors import WeightsError  # noqa: E402
from lcvd.model import load_lcvd  # noqa: E402
from lcvd.weights.convert import convert, describe, verify  # noqa: E402
from lcvd.weights.load import TensorFile, find_weights  # noqa: E402
from lcvd.weights.tiny import write_tiny  # noqa: E402
from tests.lcvd.weights.tensors import all_tensors, same  # noqa: E402


def test_convert_keeps_every_value(folder: Path, tmp_path: Path) -> None:
    """The converted folder holds the same tensors, a manifest with true hashes and a model card, and loads alike."""
    out = convert(folder, tmp_path / "out")
    assert same(all_tensors(folder), all_tensors(out))
    manifest = json.loads((out / "lcvd.json").read_text())
    card = (out / "README.md").read_text()
    for part in manifest["parts"].values():
        import hashlib

        digest = hashlib.sha256((out / part["file"]).read_bytes()).hexdigest()
        assert part["sha256"] == digest
        assert digest in card
    assert "arXiv 2502.19894" in card
    assert "**not** the published" in card
    assert manifest["parts"]["image_encoder"]["dtypes"] == ["float16"]
    assert verify(find_weights(out)) == []
    assert load_lcvd(out).image_mean == load_lcvd(folder).image_mean
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "weights"]


def test_convert_to_half(folder: Path, tmp_path: Path) -> None:
    """--dtype fp16 halves every part; a folder that exists, or a bad source, leaves nothing behind."""
    out = convert(folder, tmp_path / "half", torch.float16)
    assert {value.dtype for value in all_tensors(out).values()} == {torch.float16}
    with pytest.raises(WeightsError, match="exists already"):
        convert(folder, out)
    (folder / "unet.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match="empty"):
        convert(folder, tmp_path / "bad")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half", "weights"]


def test_verify_finds_damage_no_name_shows(folder: Path, tmp_path: Path) -> None:
    """A flipped byte, a value that is not finite, and an adapter copied over another are all found."""
    assert verify(find_weights(folder)) == []
    shutil.copy(folder / "ref_embedder.pth", folder / "light_embedder.pth")
    state = torch.load(folder / "unet.pth", weights_only=True)
    state["conv_in.bias"][0] = float("nan")
    torch.save(state, folder / "unet.pth")
    problems = "\n".join(verify(find_weights(folder)))
    assert "light_embedder and ref_embedder hold the same values" in problems
    assert "conv_in.bias" in problems

    write_tiny(tmp_path / "good")
    out = convert(tmp_path / "good", tmp_path / "out")
    data = bytearray((out / "vae.safetensors").read_bytes())
    data[-2] ^= 1
    (out / "vae.safetensors").write_bytes(data)
    assert any("vae.safetensors: SHA-256" in problem for problem in verify(find_weights(out)))


def test_manifest_cannot_point_outside(folder: Path, tmp_path: Path) -> None:
    """A converted folder from a stranger reads its own files only; other versions and missing parts are refused."""
    out = convert(folder, tmp_path / "out")
    manifest = json.loads((out / "lcvd.json").read_text())
    manifest["parts"]["unet"]["file"] = "../../secret.safetensors"
    (out / "lcvd.json").write_text(json.dumps(manifest))
    assert find_weights(out).parts["unet"].files == (TensorFile(out / "secret.safetensors"),)
    odd_parts = (
        {},
        [],
        *({"unet": entry} for entry in ([], {}, {"config": {}, "file": 3}, {"config": {}, "file": ""})),
    )
    for broken in ({**manifest, "version": 99}, *({**manifest, "parts": parts} for parts in odd_parts)):
        (out / "lcvd.json").write_text(json.dumps(broken))
        with pytest.raises(WeightsError, match=r"lcvd\.json"):
            find_weights(out)
    (out / "lcvd.json").write_text("{")
    with pytest.raises(WeightsError, match="not readable as JSON"):
        find_weights(out)


def test_describe_counts_parameters(tiny_weights: Path) -> None:
    """`show` counts each part from its configuration, and says that the tiny model is not the published one."""
    reports = {report.name: report for report in describe(find_weights(tiny_weights))}
    held = all_tensors(tiny_weights)
    for name, report in reports.items():
        assert report.parameters == sum(v.numel() for k, v in held.items() if k.startswith(f"{name}."))
        assert report.bytes > 0
    assert reports["unet"].published is False
    assert reports["vae"].published is None


def test_verify_reads_checksums(folder: Path) -> None:
    """Inverted bytes leave finite values of the right shape: the archive's own checksums tell them."""
    path = folder / "unet.pth"
    data = bytearray(path.read_bytes())
    state = torch.load(path, weights_only=True)
    place = data.index(state["conv_in.weight"].numpy().tobytes())
    # The low half of each float's mantissa: no value becomes infinite.
    for offset in range(0, 400, 4):
        data[place + offset] ^= 0xFF
    path.write_bytes(bytes(data))
    found = verify(find_weights(folder))
    assert len(found) == 1
    assert "checksum" in found[0]
    assert str(path) in found[0]


def test_convert_refuses_bad_values(folder: Path, tmp_path: Path) -> None:
    """Values that are not finite and an adapter copied over another are not passed on, and nothing is left behind."""
    copied = shutil.copytree(folder, tmp_path / "copied")
    shutil.copy(copied / "ref_embedder.pth", copied / "light_embedder.pth")
    with pytest.raises(WeightsError, match="light_embedder and ref_embedder"):
        convert(copied, tmp_path / "out")
    state = torch.load(folder / "unet.pth", weights_only=True)
    state["conv_in.bias"][0] = float("inf")
    torch.save(state, folder / "unet.pth")
    with pytest.raises(WeightsError, match=r"not finite in conv_in\.bias"):
        convert(folder, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_targets_are_checked_first(folder: Path, tmp_path: Path) -> None:
    """A target that is a file, lies under one, or cannot be written is refused before anything is read."""
    (tmp_path / "file").write_text("kept")
    (folder / "unet.pth").write_bytes(b"")  # would be the complaint if it came first
    for target in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/relight"), tmp_path / ("n" * 300)):
        with pytest.raises(WeightsError, match=r"exists already|cannot be written"):
            convert(folder, target)
        with pytest.raises(WeightsError, match=r"exists already|cannot be written"):
            write_tiny(target)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "weights"]


def test_differences_are_counted(folder: Path) -> None:
    """A wrong file tells ten names and how many more there are."""
    shutil.copy(folder / "ref_embedder.pth", folder / "unet.pth")
    with pytest.raises(WeightsError, match=r"missing: .* and \d+ more") as caught:
        load_lcvd(folder)
    assert len(caught.value.message) < 3000
