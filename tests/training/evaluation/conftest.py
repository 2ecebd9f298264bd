"""Fixtures of the evaluation tests; torch is imported only when a fixture is used, so files can skip without it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lcvd.model import LcvdModel
    from training.evaluation import Case, Trial


@pytest.fixture(scope="module")
def case() -> "Case":
    """Returns two frames of 64 px that ask for a preset."""
    from training.evaluation import held_out_case

    return held_out_case(1, 2, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a tiny random model."""
    import torch

    from lcvd.weights.tiny import write_tiny

    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("synthetic") / "tiny"
    write_tiny(path, seed=0)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> "LcvdModel":
    from lcvd.model import load_lcvd

    return load_lcvd(folder)


@pytest.fixture(scope="module")
def trial(model: "LcvdModel") -> "Trial":
    """Returns a trial of two heads, every variant, one step."""
    from training.evaluation import Plan, run_trial

    return run_trial(model, Plan(heads=2, frames=1, size=64, steps=1, omega=2.0, omegas=(1.0, 2.0)))
