"""A tiny random LCVD in the published layout, written once for all tests that want torch."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model, temporal VAE included. Read only: copy it before you break it."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    torch.set_num_threads(1)
    from lcvd.weights.tiny import write_tiny

    folder = tmp_path_factory.mktemp("lcvd") / "tiny"
    write_tiny(folder, seed=0, temporal=True)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_weights: Path):  # -> lcvd.model.LcvdModel
    """The tiny model on the CPU in float32."""
    from lcvd.model import load_lcvd

    return load_lcvd(tiny_weights)
