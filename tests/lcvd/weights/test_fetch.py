"""Fetching the published weights through a fake hub."""

import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.errors import WeightsError  # noqa: E402
from lcvd.weights.convert import verify  # noqa: E402
from lcvd.weights.load import SVD_FOLDER, find_weights  # noqa: E402


class FakeHub:
    """huggingface_hub whose downloads are files of a tiny model, and which can misbehave."""

    def __init__(self, source: Path, error: Exception | None = None) -> None:
        self.source, self.error, self.calls = source, error, []

    def snapshot_download(self, repo_id: str, *, local_dir, allow_patterns, revision, max_workers: int) -> str:
        from fnmatch import fnmatch

        self.calls.append((repo_id, tuple(allow_patterns), revision))
        if self.error is not None:
            raise self.error
        root = {"MartinGuo": self.source, "stabilityai": self.source / SVD_FOLDER}[repo_id.split("/")[0]]
        if repo_id.endswith("sd-vae-ft-mse"):
            root = root / "sd-vae-ft-mse"
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, local_dir / name)
        return str(local_dir)


def test_fetch_makes_a_folder_that_loads(tiny_weights: Path, tmp_path: Path) -> None:
    """The patterns fetch exactly what the loader wants, each repository into its place, pinned where asked."""
    from lcvd.weights.fetch import fetch

    hub, pin = FakeHub(tiny_weights), {"stabilityai/sd-vae-ft-mse": "31f26fd"}
    seen: list[str] = []
    fetch(tmp_path / "a", revisions=pin, hub=hub, on_repo=seen.append)
    assert seen == [call[0] for call in hub.calls]
    assert [call[2] for call in hub.calls] == [None, None, "31f26fd"]
    found = find_weights(tmp_path / "a")
    assert "temporal_vae" not in found.parts
    assert verify(found) == []
    fetch(tmp_path / "b", temporal=True, tracker=True, hub=hub)
    assert "temporal_vae" in find_weights(tmp_path / "b").parts
    assert "data/*" in hub.calls[3][1]
    with pytest.raises(WeightsError, match="no such repository"):
        fetch(tmp_path / "c", revisions={"some/thing": "main"}, hub=hub)


def test_fetch_explains_what_went_wrong(tmp_path: Path, tiny_weights: Path) -> None:
    """A gated repository, no network, a full disk: the error names the repository, the hint the remedy."""
    from lcvd.weights.fetch import fetch

    class GatedRepoError(OSError):
        pass

    cases = [
        (GatedRepoError("403"), "accept the licence"),
        (ConnectionError("name resolution failed"), "same command again"),
        (OSError(28, "No space left on device"), "free some disk"),
    ]
    for error, remedy in cases:
        with pytest.raises(WeightsError, match="MartinGuo/Relightable") as caught:
            fetch(tmp_path, hub=FakeHub(tiny_weights, error))
        assert remedy in caught.value.hint


def test_fake_hub_has_the_real_signature() -> None:
    """The arguments given to the fake are arguments of the real snapshot_download."""
    import inspect

    huggingface_hub = pytest.importorskip("huggingface_hub")
    real = set(inspect.signature(huggingface_hub.snapshot_download).parameters)
    assert set(inspect.signature(FakeHub.snapshot_download).parameters) - {"self"} <= real
