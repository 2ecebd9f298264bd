"""Weight folders: the published layout with all its variants, checked names, and the loaded networks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from safetensors.torch import load_file, save_file  # noqa: E402

from lcvd.errors import WeightsError  # noqa: E402
from lcvd.model import load_lcvd  # noqa: E402
from lcvd.networks.unet import SVD_XT_CONFIG  # noqa: E402
from lcvd.weights.convert import verify  # noqa: E402
from lcvd.weights.load import (  # noqa: E402
    SVD_FOLDER,
    FoundWeights,
    PartFiles,
    check_part,
    find_weights,
    load_part,
    read_part,
)
from tests.lcvd.weights.tensors import all_tensors, names_of_the_release, same  # noqa: E402


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
