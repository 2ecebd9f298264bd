"""Reads checkpoints of other projects (DECA, U²-Net) without running code, and checks them against their network.

Reading is `lcvd.weights.file`'s: `weights_only=True`, no compressed archives. Errors are ModelUnavailable with
the caller's remedy, because these files come from elsewhere than LCVD's. Needs torch.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from lcvd.errors import ModelUnavailable, WeightsError
from lcvd.weights.file import read_torch


def read_checkpoint(path: Path, remedy: str) -> Mapping[str, object]:
    """Read the dict that torch.save wrote to `path`, on the CPU; nested dicts stay nested. Raises ModelUnavailable."""
    if not path.is_file():
        raise ModelUnavailable(f"{path} does not exist", remedy)
    try:
        saved = read_torch(path)
    except WeightsError as error:
        raise ModelUnavailable(error.message, remedy) from error
    if not isinstance(saved, Mapping):
        raise ModelUnavailable(f"{path} holds a {type(saved).__name__}, not a dict", remedy)
    return saved


def load_checked(model: nn.Module, state: Mapping[str, object], file: str, remedy: str) -> None:
    """Load `state` into `model`. Raises ModelUnavailable naming the keys that are missing, extra or mis-shaped.

    Batch norm's `num_batches_tracked` may be absent: old checkpoints lack it and evaluation never asks.
    """
    wanted = model.state_dict()
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    groups = {
        "missing": [k for k in wanted if k not in tensors and not k.endswith("num_batches_tracked")],
        "extra": [str(k) for k in state if k not in wanted],
        "mis-shaped": [
            f"{k} (expected {list(wanted[k].shape)}, got {list(tensors[k].shape)})"
            for k in wanted
            if k in tensors and tensors[k].shape != wanted[k].shape
        ],
    }
    wrong = [
        f"{len(keys)} {label}: {', '.join(keys[:4])}{', …' if len(keys) > 4 else ''}"
        for label, keys in groups.items()
        if keys
    ]
    if wrong:
        raise ModelUnavailable(f"{file} does not fit: {'; '.join(wrong)}", remedy)
    model.load_state_dict(tensors, strict=False)
