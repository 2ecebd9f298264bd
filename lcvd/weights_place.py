"""Where LCVD's weights lie, without torch, so that a menu can ask."""

from pathlib import Path

import platformdirs


def weights_home() -> Path:
    """Where named weights live: `relight weights fetch` writes there, `--weights NAME` reads there."""
    return Path(platformdirs.user_data_dir("relight-live")) / "weights"


def weights_folder(path: Path | str) -> Path:
    """The folder meant by `path`, which may be a name under `weights_home()`; it need not exist."""
    root = Path(path).expanduser()
    return weights_home() / root if not root.exists() and len(root.parts) == 1 else root
