"""run_jobs gives jobs to worker processes; a worker that dies costs its job one more try, never the run.

Processes are spawned, so they inherit nothing but the arguments. Each worker has a pipe: a closed pipe means a dead
worker, and a worker whose parent is gone ends at its next report. With `count` 0 the jobs run in this process.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from lcvd.errors import LcvdError
from training.errors import TrainingError

Job = TypeVar("Job")
Report = Callable[[int], None]
Handler = Callable[[Job, Report], Any]
TRIES = 2
STOP_S = 2.0  # for a worker to end before it is killed
# A worker fills one core: BLAS threads beside it only spin (23 % of the CPU time of `relight data prepare`).
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def run_jobs(
    jobs: Sequence[Job],
    make_handler: Callable[..., Handler[Job]],
    arguments: tuple[Any, ...],
    count: int,
    *,
    on_report: Callable[[Job, int], None],
    on_done: Callable[[Job, Any], None],
    on_died: Callable[[Job, str], None],
) -> None:
    """Gives every job to a handler made by `make_handler(*arguments)` in one of `count` processes (all picklable).

    The callbacks run in the caller's thread: `on_report(job, n)` with what a handler reports, then `on_done(job,
    result)`, or `on_died(job, how)` after its worker died twice. An LcvdError of a handler ends the run and is raised
    here.
    """
    if count == 0:
        handler = make_handler(*arguments)
        for job in jobs:
            on_done(job, handler(job, lambda n, job=job: on_report(job, n)))  # type: ignore[misc]
        return
    waiting, tries = deque(range(len(jobs))), [0] * len(jobs)
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.job is not None for worker in workers):
            while len(workers) < count and len(workers) < len(waiting) + sum(w.job is not None for w in workers):
                workers.append(_Worker(make_handler, arguments))
            for worker in workers:
                if worker.ready and worker.job is None and waiting:
                    worker.job = waiting.popleft()
                    worker.give(jobs[worker.job])
            for pipe in wait([worker.pipe for worker in workers]):
                worker = next(worker for worker in workers if worker.pipe is pipe)
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    how = worker.ended()
                    if worker.job is None:
                        raise TrainingError(
                            f"a worker process died while idle ({how})", "see its message above"
                        ) from None
                    tries[worker.job] += 1
                    if tries[worker.job] < TRIES:
                        waiting.appendleft(worker.job)
                    else:
                        on_died(jobs[worker.job], how)
                    continue
                if kind == "ready":
                    worker.ready = True
                elif kind == "report":
                    assert worker.job is not None
                    on_report(jobs[worker.job], value)
                elif kind == "done":
                    finished, worker.job = worker.job, None
                    assert finished is not None
                    on_done(jobs[finished], value)
                else:
                    error, message, hint = value
                    raise error(message, hint)
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.ended()


class _Worker:
    def __init__(self, make_handler: Callable[..., Handler[Any]], arguments: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.ready = False
        self.job: int | None = None
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, make_handler, arguments), daemon=True, name="relight-prepare"
        )
        # Ctrl-C reaches the whole terminal: an ignored signal stays ignored in the child from its first instruction.
        in_main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
        environment = dict(os.environ)
        os.environ.update(ONE_THREAD)  # numpy reads it when the child imports it
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(environment)
            if in_main:
                signal.signal(signal.SIGINT, before)
        theirs.close()

    def give(self, job: Any) -> None:
        # A worker that died between two jobs: its closed pipe is read next, and the job is tried again.
        with contextlib.suppress(OSError):
            self.pipe.send(job)

    def stop(self) -> None:
        self._process.terminate()

    def ended(self) -> str:
        """Waits for the process to end and returns its signal or exit code."""
        self.pipe.close()
        self._process.join(STOP_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        code = self._process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _serve(pipe: Connection, make_handler: Callable[..., Handler[Any]], arguments: tuple[Any, ...]) -> None:
    def report(n: int) -> None:
        try:
            pipe.send(("report", n))
        except OSError:
            raise SystemExit(0) from None  # the parent is gone

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        try:
            handler = make_handler(*arguments)
            pipe.send(("ready", None))
            while True:
                job = pipe.recv()
                pipe.send(("done", handler(job, report)))
        except LcvdError as error:
            pipe.send(("fatal", (type(error), error.message, error.hint)))
