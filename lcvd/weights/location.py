"""Finds the folders of LCVD's weights and reads their manifests, without torch, so that a menu can list them."""

import json
import tempfile
from pathlib import Path
from typing import Any

import platformdirs

from lcvd.errors import WeightsError

MANIFEST = "lcvd.json"  # of the converted layout
TRAINED_SIZE = 512  # px, as published
PACKAGED = Path(__file__).parent.parent / "data"  # weights that come with the package: nano


def weights_home() -> Path:
    """Folder of named weights: `relight weights fetch` writes there, `--weights NAME` reads there."""
    return Path(platformdirs.user_data_dir("relight-live")) / "weights"


def weights_folder(path: Path | str) -> Path:
    """Return the folder that `path` means: itself, a name under `weights_home()`, or one that comes with the package.

    It need not exist.
    """
    root = Path(path).expanduser()
    if root.exists() or len(root.parts) != 1:
        return root
    own, packaged = weights_home() / root, PACKAGED / root
    return packaged if not own.exists() and (packaged / MANIFEST).is_file() else own


def weights_names() -> list[str]:
    """Return the names that `weights_folder` knows: the user's own, and those that come with the package."""
    home = weights_home()
    own = {path.name for path in home.iterdir() if path.is_dir()} if home.is_dir() else set()
    return sorted(own | {path.parent.name for path in PACKAGED.glob(f"*/{MANIFEST}")})


def check_new_folder(folder: Path) -> None:
    """Raise WeightsError unless `folder` is empty or new, and can be written. Leaves nothing behind."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise WeightsError(f"{folder}: exists already", "name a new folder")
        above = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        with tempfile.TemporaryDirectory(prefix=".relight-", dir=above) as probe:  # /proc can be entered, not written
            (Path(probe) / folder.name).mkdir()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{folder}: cannot be written ({reason})", "name a folder that can") from error


def weights_manifest(path: Path | str) -> dict[str, Any]:
    """The manifest of a converted folder; empty where there is none or it cannot be read (`find_weights` says why)."""
    try:
        manifest = json.loads((weights_folder(path) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def trained_size(path: Path | str) -> int:
    """Side in px of the pictures these weights were trained on: what the manifest says, else 512 as published."""
    return _side(weights_manifest(path).get("size")) or TRAINED_SIZE


def served_size(path: Path | str) -> int:
    """Side in px at which these weights are drawn unless another is asked for; not always what they were trained on."""
    live = weights_manifest(path).get("live")
    return _side(live.get("size") if isinstance(live, dict) else None) or trained_size(path)


def _side(value: object) -> int | None:
    """`value` where it is a side that pictures can have; else None."""
    legal = isinstance(value, int) and not isinstance(value, bool) and 64 <= value <= 1024 and value % 8 == 0
    return value if legal else None  # type: ignore[return-value]
