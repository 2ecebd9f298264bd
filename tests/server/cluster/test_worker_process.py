"""server.cluster.worker_process: a worker that starts gives way to those that serve, and serves as they do."""

import os
import socket
import sys
import threading

import pytest

import engine
from engine.passthrough import PassthroughEngine
from server.cluster import worker_process
from server.cluster.worker_process import STARTING_NICENESS, WorkerProcess
from server.settings import Settings


def niceness() -> int:
    """Of the thread that asks."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own only on Linux")
def test_a_start_gives_way_and_serving_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is warmed up by a thread of lower priority, the application is run by one of the usual priority."""
    usual = niceness()
    if usual + STARTING_NICENESS > 19:
        pytest.skip("the tests run at the lowest priority already")
    seen: list[tuple[str, int]] = []
    served = threading.Event()

    class Watched(PassthroughEngine):
        def warmup(self) -> None:
            seen.append(("start", niceness()))

    class Server:
        def __init__(self, config: object) -> None: ...

        def run(self, sockets: list[socket.socket]) -> None:
            seen.append(("serve", niceness()))
            sockets[0].close()
            served.set()

    monkeypatch.setattr(engine, "make_engine", lambda name: Watched())
    monkeypatch.setattr("uvicorn.Server", Server)
    WorkerProcess(Settings(engine="passthrough"), "secret", "127.0.0.1")
    assert served.wait(30)
    assert seen == [("start", usual + STARTING_NICENESS), ("serve", usual)]


def test_a_first_warm_up_that_fails_is_left_to_the_engine_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """That one tells the participants, with the remedy; the worker starts."""
    asked: list[str] = []

    def fail(name: str) -> None:
        asked.append(name)
        raise OSError("no network for the models")

    monkeypatch.setattr(engine, "make_engine", fail)
    starting = threading.Thread(target=worker_process._load, args=[None])  # its priority goes with it
    starting.start()
    starting.join()
    assert asked == ["ratio"]
