"""Workers as plain child processes: the stand-in for Ray, with the engines that never need a model."""

import contextlib
import multiprocessing
from functools import partial
from multiprocessing.connection import Connection

from engine.passthrough import PassthroughEngine
from engine.protocols import Engine
from server.cluster.launcher import Launched, cpu_of
from server.cluster.worker_process import WorkerProcess
from server.rtc.bench.machine_cost import MachineCost
from server.settings import Settings

START_S = 60.0


def passthrough(name: str) -> Engine:
    """Returns an engine that shows the camera as it is, whatever was asked for."""
    return PassthroughEngine()


def work(settings: Settings, secret: str, cost: MachineCost | None, pipe: Connection) -> None:
    """Runs a worker until the other end of `pipe` is closed."""
    worker = WorkerProcess(settings, secret, "127.0.0.1", passthrough, cost)
    pipe.send(worker.address())
    with contextlib.suppress(EOFError):
        pipe.recv()


class ProcessLauncher:
    """Launches `count` workers, and more where the front asks for them."""

    def __init__(self, settings: Settings, secret: str, count: int) -> None:
        self._settings = settings
        self._secret = secret
        self.count = count
        self.one_machine = True
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def launch(self, number: int, cost: MachineCost | None) -> Launched:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(self._settings, self._secret, cost, theirs), daemon=True)
        process.start()
        theirs.close()
        self._processes.append(process)
        assert ours.poll(START_S), "the worker did not start"
        url, pid = ours.recv()
        process.kept = ours  # type: ignore[attr-defined]  # its end is the worker's
        return Launched(url, str(pid), process.kill, partial(cpu_of, pid))

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
