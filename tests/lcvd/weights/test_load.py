"""Weight folders: the published layout with all its variants, conversion, damage, hostile files, fetching."""

import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install 'relight-live[lcvd]'")

from safetensors.torch import load_file, save_file  # noqa: E402

from lcvd.errors import WeightsError  # noqa: E402
from lcvd.model import load_lcvd  # noqa: E402
from lcvd.networks.unet import SVD_XT_CONFIG  # noqa: E402
from lcvd.weights.convert import convert, describe, verify  # noqa: E402
from lcvd.weights.file import read_tensors  # noqa: E402
from lcvd.weights.load import (  # noqa: E402
    SVD_FOLDER,
    FoundWeights,
    PartFiles,
    TensorFile,
    check_part,
    find_weights,
    load_part,
    read_part,
)
from lcvd.weights.tiny import write_tiny  # noqa: E402


@pytest.fixture
def folder(tiny_weights: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    shutil.copytree(tiny_weights, tmp_path / "weights")
    return tmp_path / "weights"


def all_tensors(path: Path) -> dict:
    found = find_weights(path)
    return {f"{name}.{key}": value.clone() for name in found.parts for key, value in read_part(found, name).items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def names_of_the_release() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published adapters, written out."""
    sizes = [(3, 3, 3), (16, 3, 4), (16, 16, 3), (32, 16, 4), (32, 32, 3), (64, 32, 4), (64, 64, 3), (128, 64, 3)]
    shapes: dict[str, tuple[int, ...]] = {"scale": (1,), "final_proj.bias": (320,)}
    shapes["final_proj.weight"] = (320, 128, 1, 1)
    for index, (out, inside, kernel) in enumerate(sizes):
        shapes[f"conv_layers.{2 * index}.weight"] = (out, inside, kernel, kernel)
        shapes[f"conv_layers.{2 * index}.bias"] = (out,)
    return shapes


def test_full_size_names_are_accepted() -> None:
    """1428 UNet tensors of diffusers' names and 3 x 19 adapter tensors of the published ones pass the check."""
    from diffusers.models import UNetSpatioTemporalConditionModel

    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel.from_config(dict(SVD_XT_CONFIG)).state_dict()
        adapters = {
            f"{which}.{key}": torch.empty(shape)
            for which in ("light", "ref", "head")
            for key, shape in names_of_the_release().items()
        }
    found = FoundWeights(
        Path("."),
        "published",
        {"unet": PartFiles(SVD_XT_CONFIG, ()), "adapters": PartFiles({"out_channels": 320}, ())},
    )
    assert len(unet) == 1428
    assert len(adapters) == 57
    check_part(found, "unet", unet)
    check_part(found, "adapters", adapters)


def test_full_size_vae_and_image_encoder_names() -> None:
    """sd-vae-ft-mse's configuration has 248 names, CLIP-ViT-H's 520, the temporal decoder loads SVD's `vae`."""
    from lcvd.weights.load import build_part

    vae = {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
    }
    clip = {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 1024,
        "hidden_act": "gelu",
    }
    with torch.device("meta"):
        assert len(build_part("vae", vae).state_dict()) == 248
        assert len(build_part("image_encoder", clip).state_dict()) == 520


def test_tiny_has_the_published_layout(tiny_weights: Path) -> None:
    """The tiny model's files have the published names, and its VAE the old attention names."""
    names = {str(path.relative_to(tiny_weights)) for path in tiny_weights.rglob("*") if path.is_file()}
    assert {"unet.pth", "light_embedder.pth", "ref_embedder.pth", "head_embedder.pth"} < names
    assert f"{SVD_FOLDER}/unet/config.json" in names
    vae = load_file(tiny_weights / SVD_FOLDER / "sd-vae-ft-mse" / "diffusion_pytorch_model.safetensors")
    assert any(key.endswith("attentions.0.proj_attn.weight") for key in vae)
    assert not any("to_q" in key for key in vae)
    light = torch.load(tiny_weights / "light_embedder.pth", weights_only=True)
    assert set(light) == set(names_of_the_release())


def test_tiny_is_reproducible(tiny_weights: Path, tmp_path: Path) -> None:
    """The same seed writes the same values, another seed others; a folder in use is not written into."""
    write_tiny(tmp_path / "again", seed=0, temporal=True)
    write_tiny(tmp_path / "other", seed=1, temporal=True)
    assert same(all_tensors(tiny_weights), all_tensors(tmp_path / "again"))
    assert not same(all_tensors(tiny_weights), all_tensors(tmp_path / "other"))
    with pytest.raises(WeightsError, match="not empty"):
        write_tiny(tmp_path / "again")


def test_old_attention_names_become_new(tiny_weights: Path) -> None:
    """query, key, value and proj_attn of sd-vae-ft-mse land in to_q, to_k, to_v and to_out.0, values unchanged."""
    raw = load_file(tiny_weights / SVD_FOLDER / "sd-vae-ft-mse" / "diffusion_pytorch_model.safetensors")
    vae = load_part(find_weights(tiny_weights), "vae", torch.device("cpu"), torch.float32)
    attention = vae.decoder.mid_block.attentions[0]
    where = "decoder.mid_block.attentions.0"
    assert torch.equal(attention.to_q.weight, raw[f"{where}.query.weight"])
    assert torch.equal(attention.to_k.bias, raw[f"{where}.key.bias"])
    assert torch.equal(attention.to_v.weight, raw[f"{where}.value.weight"])
    assert torch.equal(attention.to_out[0].weight, raw[f"{where}.proj_attn.weight"])


def test_attention_as_convolutions(folder: Path) -> None:
    """The oldest VAE files keep attention as 1x1 convolutions; they load as well."""
    path = folder / SVD_FOLDER / "sd-vae-ft-mse" / "diffusion_pytorch_model.safetensors"
    before = {key: value.clone() for key, value in read_part(find_weights(folder), "vae").items()}
    tensors = load_file(path)
    for key in tensors:
        if ".attentions." in key and key.endswith("weight") and "group_norm" not in key:
            tensors[key] = tensors[key][:, :, None, None].contiguous()
    save_file(tensors, path)
    assert same(read_part(find_weights(folder), "vae"), before)


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_accelerate_checkpoint_with_prefixes(folder: Path, wrapper: str) -> None:
    """One file with denoising_unet. / head_embedder. / light_embedder. / ref_embedder. is the same model."""
    before = all_tensors(folder)
    combined = {}
    for file in ("unet", "light_embedder", "ref_embedder", "head_embedder"):
        prefix = "denoising_unet." if file == "unet" else f"{file}."
        for key, value in torch.load(folder / f"{file}.pth", weights_only=True).items():
            combined[f"{wrapper}{prefix}{key}"] = value
        (folder / f"{file}.pth").unlink()
    torch.save({"state_dict": combined}, folder / "pytorch_model.bin")
    assert same(all_tensors(folder), before)


def test_prefixed_files_and_older_names(folder: Path) -> None:
    """Each file may carry its prefix, and the reference adapter its training name app_embedder.pth."""
    before = all_tensors(folder)
    unet = torch.load(folder / "unet.pth", weights_only=True)
    torch.save({f"denoising_unet.{key}": value for key, value in unet.items()}, folder / "unet.pth")
    (folder / "ref_embedder.pth").rename(folder / "app_embedder.pth")
    assert same(all_tensors(folder), before)


def test_svd_folder_kept_elsewhere(folder: Path, tmp_path: Path) -> None:
    """--svd names another place; the folder beside the weights is found by itself."""
    before = all_tensors(folder)
    (folder / SVD_FOLDER).rename(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="no SVD folder"):
        find_weights(folder)
    found = find_weights(folder, tmp_path / "elsewhere")
    assert set(found.parts) == {"unet", "adapters", "vae", "image_encoder", "temporal_vae"}
    (tmp_path / "elsewhere").rename(tmp_path / SVD_FOLDER)
    assert same(all_tensors(folder), before)


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


def test_fp16_files_load_as_asked(tiny_weights: Path) -> None:
    """The image encoder's fp16 file becomes a float32 network, and the other way round."""
    exact = load_part(find_weights(tiny_weights), "image_encoder", torch.device("cpu"), torch.float32)
    assert {parameter.dtype for parameter in exact.parameters()} == {torch.float32}
    rough = load_part(find_weights(tiny_weights), "adapters", torch.device("cpu"), torch.bfloat16)
    assert {parameter.dtype for parameter in rough.parameters()} == {torch.bfloat16}


def test_every_wrong_key_is_named(folder: Path) -> None:
    """Missing, extra and mis-shaped names are all in one message, with the file."""
    state = torch.load(folder / "unet.pth", weights_only=True)
    del state["conv_out.bias"], state["conv_norm_out.weight"]
    state["conv_in.weight"] = torch.zeros(32, 4, 3, 3)
    state["stranger"] = torch.zeros(1)
    state["conv_in.bias"] = torch.zeros(32, dtype=torch.int64)
    torch.save(state, folder / "unet.pth")
    with pytest.raises(WeightsError) as caught:
        load_lcvd(folder)
    for words in (
        "unet.pth",
        "2 missing: conv_norm_out.weight, conv_out.bias",
        "1 extra: stranger",
        "conv_in.weight (expected [32, 8, 3, 3], got [32, 4, 3, 3])",
        "1 not floating point: conv_in.bias",
    ):
        assert words in caught.value.message
    assert caught.value.message in verify(find_weights(folder))


def test_old_position_ids_are_no_stranger(folder: Path) -> None:
    """Older transformers stored position_ids beside CLIP's weights; that is not an error."""
    path = folder / SVD_FOLDER / "image_encoder" / "model.fp16.safetensors"
    tensors = load_file(path)
    tensors["vision_model.embeddings.position_ids"] = torch.arange(50)[None]
    save_file(tensors, path)
    load_part(find_weights(folder), "image_encoder", torch.device("cpu"), torch.float32)


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


def test_missing_things_are_named(folder: Path, tmp_path: Path) -> None:
    """No folder, no adapter, no VAE, an impossible configuration: each error names the file and a remedy."""
    with pytest.raises(WeightsError, match="no such folder") as caught:
        find_weights(tmp_path / "nothing")
    assert "relight weights" in caught.value.hint
    (folder / "head_embedder.pth").unlink()
    with pytest.raises(WeightsError, match=r"head_embedder\.pth: no such file"):
        load_lcvd(folder)
    config = folder / SVD_FOLDER / "sd-vae-ft-mse" / "config.json"
    config.write_text(json.dumps({"down_block_types": ["Nonsense"]}))
    with pytest.raises(WeightsError, match="vae: its config"):
        check_part(find_weights(folder), "vae", {})
    shutil.rmtree(config.parent)
    with pytest.raises(WeightsError, match="sd-vae-ft-mse"):
        find_weights(folder)


def test_names_live_in_the_users_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--weights NAME means a folder under the user's weights folder."""
    monkeypatch.setattr("lcvd.weights.location.weights_home", lambda: tmp_path)
    assert find_weights("weights").root == tmp_path / "weights"


def test_describe_counts_parameters(tiny_weights: Path) -> None:
    """`show` counts each part from its configuration, and says that the tiny model is not the published one."""
    reports = {report.name: report for report in describe(find_weights(tiny_weights))}
    held = all_tensors(tiny_weights)
    for name, report in reports.items():
        assert report.parameters == sum(v.numel() for k, v in held.items() if k.startswith(f"{name}."))
        assert report.bytes > 0
    assert reports["unet"].published is False
    assert reports["vae"].published is None


class FakeHub:
    """huggingface_hub whose downloads are files of a tiny model, and which can misbehave."""

    def __init__(self, source: Path, error: Exception | None = None) -> None:
        self.source, self.error, self.calls = source, error, []

    def snapshot_download(self, repo_id: str, *, local_dir, allow_patterns, revision, max_workers: int) -> str:
        from fnmatch import fnmatch

        self.calls.append((repo_id, tuple(allow_patterns), revision))
        if self.error is not None:
            raise self.error
        root = {"MartinGuo": self.source, "stabilityai": self.source / SVD_FOLDER}[repo_id.split("/")[0]]
        if repo_id.endswith("sd-vae-ft-mse"):
            root = root / "sd-vae-ft-mse"
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, local_dir / name)
        return str(local_dir)


def test_fetch_makes_a_folder_that_loads(tiny_weights: Path, tmp_path: Path) -> None:
    """The patterns fetch exactly what the loader wants, each repository into its place, pinned where asked."""
    from lcvd.weights.fetch import fetch

    hub, pin = FakeHub(tiny_weights), {"stabilityai/sd-vae-ft-mse": "31f26fd"}
    seen: list[str] = []
    fetch(tmp_path / "a", revisions=pin, hub=hub, on_repo=seen.append)
    assert seen == [call[0] for call in hub.calls]
    assert [call[2] for call in hub.calls] == [None, None, "31f26fd"]
    found = find_weights(tmp_path / "a")
    assert "temporal_vae" not in found.parts
    assert verify(found) == []
    fetch(tmp_path / "b", temporal=True, tracker=True, hub=hub)
    assert "temporal_vae" in find_weights(tmp_path / "b").parts
    assert "data/*" in hub.calls[3][1]
    with pytest.raises(WeightsError, match="no such repository"):
        fetch(tmp_path / "c", revisions={"some/thing": "main"}, hub=hub)


def test_fetch_explains_what_went_wrong(tmp_path: Path, tiny_weights: Path) -> None:
    """A gated repository, no network, a full disk: the error names the repository, the hint the remedy."""
    from lcvd.weights.fetch import fetch

    class GatedRepoError(OSError):
        pass

    cases = [
        (GatedRepoError("403"), "accept the licence"),
        (ConnectionError("name resolution failed"), "same command again"),
        (OSError(28, "No space left on device"), "free some disk"),
    ]
    for error, remedy in cases:
        with pytest.raises(WeightsError, match="MartinGuo/Relightable") as caught:
            fetch(tmp_path, hub=FakeHub(tiny_weights, error))
        assert remedy in caught.value.hint


def test_fake_hub_has_the_real_signature() -> None:
    """The arguments given to the fake are arguments of the real snapshot_download."""
    import inspect

    huggingface_hub = pytest.importorskip("huggingface_hub")
    real = set(inspect.signature(huggingface_hub.snapshot_download).parameters)
    assert set(inspect.signature(FakeHub.snapshot_download).parameters) - {"self"} <= real


def test_cuda_is_asked_for_politely(tiny_weights: Path) -> None:
    """--device cuda without CUDA says so before reading nine gigabytes."""
    from lcvd.errors import ModelUnavailable

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ModelUnavailable, match="CUDA"):
        load_lcvd(tiny_weights, device="cuda")
    with pytest.raises(ValueError, match="dtype"):
        load_lcvd(tiny_weights, dtype="int8")


def test_loaded_model_survives_its_files(folder: Path) -> None:
    """The network is a copy: truncating the mapped file afterwards does not reach it."""
    unet = load_part(find_weights(folder), "unet", torch.device("cpu"), torch.float32)
    before = unet.svd.conv_in.weight.clone()
    with (folder / "unet.pth").open("r+b") as file:
        file.write(bytes(np.zeros(4096, np.uint8)))
    assert torch.equal(unet.svd.conv_in.weight, before)
