"""Looks for the weights of the paper's metrics in a few folders under fixed names. Nothing is downloaded."""

import importlib.util
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from lcvd.errors import ModelUnavailable
from lcvd.metrics.metric import Missing

if TYPE_CHECKING:
    import torch

# Errors of torch and the metrics' packages on a damaged, foreign or hostile file.
TROUBLES = (
    *(ImportError, RuntimeError, KeyError, IndexError, TypeError, AttributeError, ValueError, AssertionError),
    *(OSError, EOFError, pickle.UnpicklingError),
)
WHERE = "put it into a folder and name that with --weights-dir (docs/evaluate.md)"


def find(folders: tuple[str, ...], *names: str) -> Path | None:
    """Return the first of `names` that lies in one of `folders`; a name may hold a sub-folder."""
    for folder in folders:
        for name in names:
            path = Path(folder) / name
            if path.is_file():
                return path
    return None


def every(*missing: Missing | None) -> Missing | None:
    """Join everything that is missing into one Missing, so that one message names it all; None where nothing is."""
    there = [item for item in missing if item is not None]
    if not there:
        return None
    return Missing("; ".join(item.reason for item in there), "; ".join(item.remedy for item in there))


def require(folders: tuple[str, ...], names: tuple[str, ...], origin: str) -> Missing | None:
    """Return a Missing unless one of `names` is in one of `folders`; `origin` says where the file comes from."""
    if find(folders, *names) is not None:
        return None
    return Missing(f"{' or '.join(names)} was not found", f"get it from {origin}, {WHERE}")


def require_package(name: str, install: str) -> Missing | None:
    """Return a Missing unless the package can be imported; it is not imported here."""
    if importlib.util.find_spec(name) is None:
        return Missing(f"the package {name} is not installed", install)
    return None


def require_torch() -> Missing | None:
    """Return a Missing unless torch is installed; it is not imported here."""
    return require_package("torch", "pip install -e '.[lcvd]'")


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its class name."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def load_torchscript(path: Path) -> "torch.jit.ScriptModule":
    """Load a TorchScript file on the CPU, in eval mode. Raises ModelUnavailable.

    TorchScript is a program, but one that sees tensors only: it cannot open files or start processes.
    """
    import torch

    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except TROUBLES as error:
        raise ModelUnavailable(
            f"{path}: not a TorchScript file ({first_line(error)})", "fetch the file again"
        ) from error
