"""Every job is done once, even when workers die."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from training.errors import DiskFull, TrainingError
from training.prepare.workers import Report, run_jobs


def make_deadly(folder: Path) -> Callable[[str, Report], str]:
    """Makes a handler that dies on "once" the first time, on "always" every time, and answers all else."""

    def handle(job: str, report: Report) -> str:
        report(1)
        mark = folder / job
        if job == "always" or (job == "once" and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return job.upper()

    return handle


def test_a_worker_that_dies_costs_its_job_one_more_try(tmp_path: Path) -> None:
    """Killed once, a job is done by the next worker; killed twice, it is reported as died; the others are all done."""
    done: list[tuple[str, str]] = []
    died: list[tuple[str, str]] = []
    reports: list[str] = []
    run_jobs(
        ["x", "once", "always", "y"],
        make_deadly,
        (tmp_path,),
        2,
        on_report=lambda job, n: reports.append(job),
        on_done=lambda job, result: done.append((job, result)),
        on_died=lambda job, how: died.append((job, how)),
    )
    assert sorted(done) == [("once", "ONCE"), ("x", "X"), ("y", "Y")]
    assert died == [("always", "SIGKILL")]
    assert reports.count("once") == reports.count("always") == 2


def make_full() -> Callable[[str, Report], str]:
    """Makes a handler whose disk is full."""

    def handle(job: str, report: Report) -> str:
        raise DiskFull("the disk of it is full", "free some")

    return handle


def make_nothing() -> Callable[[str, Report], str]:
    """Cannot make a handler: the process exits."""
    os._exit(3)


def nothing(*_: object) -> None: ...


@pytest.mark.parametrize(
    ("make", "error", "said"), [(make_full, DiskFull, "is full"), (make_nothing, TrainingError, "exit code 3")]
)
def test_trouble_of_the_whole_run_is_raised_here(make: Callable[..., object], error: type, said: str) -> None:
    """A full disk keeps its type, message and hint across the pipe; workers that cannot start end the run."""
    with pytest.raises(error, match=said) as caught:
        run_jobs(["a", "b"], make, (), 1, on_report=nothing, on_done=nothing, on_died=nothing)  # type: ignore[arg-type]
    assert caught.value.hint
