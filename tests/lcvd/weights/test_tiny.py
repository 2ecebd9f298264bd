"""The tiny random model: the published layout, reproducible values."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from safetensors.torch import load_file  # noqa: E402

from lcvd.errors import WeightsError  # noqa: E402
from lcvd.weights.load import SVD_FOLDER  # noqa: E402
from lcvd.weights.tiny import write_tiny  # noqa: E402
from tests.lcvd.weights.tensors import all_tensors, names_of_the_release, same  # noqa: E402


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
    with pytest.raises(WeightsError, match="exists already"):
        write_tiny(tmp_path / "again")
