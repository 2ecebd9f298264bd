"""server.cluster.pool: which workers its watch takes for lost."""

import asyncio
import itertools

import httpx
import pytest

from server.cluster.launcher import Launched
from server.cluster.pool import WorkerPool
from server.cluster.worker import Worker
from server.cluster.worker_app import WorkerStatus

TIMEOUT_S = 0.2  # one that is busy has five times that


class NoLauncher:
    """Starts nothing: who is lost is not replaced."""

    count, one_machine = 0, True

    def stop(self) -> None: ...


async def lost_within(pause_s: float, works: bool, watched_s: float) -> bool:
    """Returns whether a worker that answers `pause_s` after a question, and uses CPU where it `works`, is given up."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(pause_s if first else 0)
        first.append(request)
        return httpx.Response(200, json=WorkerStatus(ready=True).model_dump(mode="json"))

    first: list[httpx.Request] = []
    used_s = itertools.count() if works else itertools.repeat(1)
    launched = Launched("http://worker", "0", lambda: None, lambda: float(next(used_s)))
    worker = Worker(0, launched, "secret", httpx.MockTransport(answer))
    pool = WorkerPool(NoLauncher(), "secret", TIMEOUT_S, 1.0)
    watching = asyncio.create_task(pool._watch(worker))
    await asyncio.wait([watching], timeout=watched_s)
    lost = worker.gone.is_set()
    await pool.close()
    worker.gone.set()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return lost


@pytest.mark.parametrize(
    ("pause_s", "works", "lost"),
    [(0.0, False, False), (0.4, True, False), (60.0, True, True), (60.0, False, True)],
    ids=["prompt", "late for every look", "busy for too long", "stopped"],
)
async def test_only_a_worker_without_an_answer_is_lost(pause_s: float, works: bool, lost: bool) -> None:
    """On a machine short of CPU every answer may be late; to kill its workers would make that worse."""
    assert await lost_within(pause_s, works, watched_s=3.0) is lost
