"""Checkpoints are complete or skipped; old ones stay until a new one is there; a full disk is recognised."""

import json
import logging
from pathlib import Path

import pytest

from tests.training.run_log import read_log
from training.data.shards import raise_disk_full
from training.errors import DataError, DiskFull
from training.loop.checkpoint import Checkpoints, problem_of
from training.loop.log import RunLog


def write(checkpoints: Checkpoints, step: int) -> Path:
    part = checkpoints.begin(step)
    (part / "weights").write_bytes(bytes(range(200)) + step.to_bytes(2))
    (part / "state").write_bytes(b"state")
    return checkpoints.finish(part, {"step": step})


def test_the_newest_whole_one_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cut, altered, incomplete and unreadable checkpoints are skipped, each with its reason."""
    checkpoints = Checkpoints(tmp_path, keep=9)
    assert checkpoints.newest() is None
    paths = [write(checkpoints, step) for step in (5, 10, 15, 20, 25)]
    assert checkpoints.newest() == paths[-1]
    (paths[4] / "weights").write_bytes(b"short")
    (paths[3] / "weights").write_bytes(b"x" * 202)
    (paths[2] / "state").unlink()
    (paths[1] / "checkpoint.json").write_text('{"format"')
    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest() == paths[0]
    for reason in ("5 bytes instead of 202", "other bytes", "state is missing", "cannot be read"):
        assert reason in caplog.text


def test_the_oldest_go_and_leftovers_of_a_crash_are_no_checkpoints(tmp_path: Path) -> None:
    """`keep` counts finished ones; a folder that never got its name is neither loaded nor counted."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        write(checkpoints, step)
    assert [path.name for path in checkpoints.all()] == ["step-00000002", "step-00000003"]
    (checkpoints.begin(4) / "weights").write_bytes(b"half")
    assert checkpoints.newest() == tmp_path / "step-00000003"
    write(checkpoints, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000005"]
    assert write(checkpoints, 5).name == "step-00000005"  # the same step again replaces it
    assert problem_of(tmp_path / "step-00000005") is None


@pytest.mark.parametrize(
    "error",
    [
        # What torch.save and safetensors really said on a full tmpfs.
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError(28, "No space left on device"),
    ],
)
def test_a_full_disk_has_many_names(tmp_path: Path, error: Exception) -> None:
    """All become DiskFull; an error of another kind is not changed, and other OSErrors are DataErrors."""
    with pytest.raises(DiskFull, match="is full"), raise_disk_full(tmp_path):
        raise error
    with pytest.raises(RuntimeError, match="shapes"), raise_disk_full(tmp_path):
        raise RuntimeError("shapes differ")
    with pytest.raises(DataError, match="Permission"), raise_disk_full(tmp_path):
        raise PermissionError(13, "Permission denied")


def test_the_log_is_cut_where_the_run_goes_on(tmp_path: Path) -> None:
    """Lines after the checkpoint, and a line torn by a crash, disappear; numbers keep every digit."""
    log = RunLog(tmp_path, 0, tensorboard=False)
    for step in range(1, 5):
        log.write(step, "train", loss=step / 3, grad_norm=float("nan"))
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "ki')
    log = RunLog(tmp_path, 2, tensorboard=False)
    log.write(3, "train", loss=0.1)
    log.close()
    rows = read_log(tmp_path / "log.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [row["loss"] for row in rows] == [1 / 3, 2 / 3, 0.1]
    assert rows[0]["grad_norm"] is None
    assert all(json.dumps(row) for row in rows)


def test_a_later_step_of_another_branch_goes_and_the_new_one_stays(tmp_path: Path) -> None:
    """A damaged newest is passed over; what is saved after that replaces it, with keep = 1 too. Subfolders count."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    write(checkpoints, 8)
    (tmp_path / "step-00000008" / "weights").write_bytes(b"short")
    part = checkpoints.begin(6)
    (part / "shards").mkdir()
    (part / "shards" / "rank0").write_bytes(b"weights")
    assert checkpoints.finish(part, {"step": 6}) == checkpoints.newest() == tmp_path / "step-00000006"
    assert [path.name for path in checkpoints.all()] == ["step-00000006"]
    (tmp_path / "step-00000006" / "shards" / "rank0").write_bytes(b"changed")
    assert problem_of(tmp_path / "step-00000006") == "shards/rank0 holds other bytes than were written"


def test_a_log_on_a_full_disk_is_told_once(tmp_path: Path) -> None:
    """The line that does not fit raises DiskFull, and closing raises nothing more."""
    log = RunLog(tmp_path, 0, tensorboard=False)
    log._file.close()
    log._file = Path("/dev/full").open("w")  # noqa: SIM115
    with pytest.raises(DiskFull):
        log.write(1, "train", loss=0.5)
    log.close()


def test_gathered_weights_are_exported_as_they_are(tmp_path: Path) -> None:
    """Of a process that holds shards, only the frozen parts of its own networks are exported."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    from safetensors.torch import load_file

    from lcvd.random_model import random_lcvd
    from training.loop.export import export

    model = random_lcvd("tiny")
    parts = {
        "unet": model.denoiser.unet,
        "adapters": model.adapters,
        "vae": model.vae,
        "image_encoder": model.image_encoder,
    }
    whole = {f"denoiser.unet.{key}": torch.full_like(value, 2) for key, value in parts["unet"].state_dict().items()}
    whole |= {f"adapters.{key}": torch.full_like(value, 3) for key, value in parts["adapters"].state_dict().items()}
    for name in ("unet", "adapters"):  # as a shard: its own numbers are of no use
        for value in parts[name].parameters():
            value.data = value.data.flatten()[:1]
    folder = export(tmp_path / "weights", parts, whole, {"step": 1}, {}, whole=True)
    for name, number in (("unet", 2), ("adapters", 3)):
        found = load_file(folder / f"{name}.safetensors")
        assert {float(value.unique()) for value in found.values()} == {number}
        assert max(value.numel() for value in found.values()) > 1
