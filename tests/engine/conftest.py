"""A tiny random LCVD for the tests of the diffusion engine, written once."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_lcvd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model in the published layout."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    torch.set_num_threads(1)
    from lcvd.weights.tiny import write_tiny

    folder = tmp_path_factory.mktemp("live-lcvd") / "tiny"
    write_tiny(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def tiny_lcvd(tiny_lcvd_folder: Path):  # -> lcvd.model.LcvdModel
    """The tiny model on the CPU in float32."""
    from lcvd.model import load_lcvd

    return load_lcvd(tiny_lcvd_folder)
