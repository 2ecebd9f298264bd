"""A copy of the tiny model's folder for each test that changes files."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(tiny_weights: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    shutil.copytree(tiny_weights, tmp_path / "weights")
    return tmp_path / "weights"
