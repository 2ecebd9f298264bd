"""Checkpoints: whole or passed over; old ones stay until a new one is there; a full disk is recognised."""

import json
import logging
from pathlib import Path

import pytest

from training.checkpoint import Checkpoints, problem_of, told_when_disk_full
from training.errors import DataError, DiskFull
from training.log import RunLog, read_log


def write(checkpoints: Checkpoints, step: int) -> Path:
    part = checkpoints.begin(step)
    (part / "weights").write_bytes(bytes(range(200)) + step.to_bytes(2))
    (part / "state").write_bytes(b"state")
    return checkpoints.finish(part, {"step": step})


def test_the_newest_whole_one_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cut, altered, incomplete and unreadable checkpoints are passed over, each with its reason."""
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
    """keep counts finished ones; a folder that never got its name is neither taken nor kept."""
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
    """All become DiskFull; an error of another kind stays what it is, and other OSErrors are DataErrors."""
    with pytest.raises(DiskFull, match="is full"), told_when_disk_full(tmp_path):
        raise error
    with pytest.raises(RuntimeError, match="shapes"), told_when_disk_full(tmp_path):
        raise RuntimeError("shapes differ")
    with pytest.raises(DataError, match="Permission"), told_when_disk_full(tmp_path):
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
