"""A front in this process, with workers in processes of their own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from server.cluster.front import Front, create_front
from server.cluster.worker import Worker
from server.http.app import uvicorn_config
from server.settings import Settings
from tests.server.client import Participant, Running
from tests.server.cluster.process_launcher import ProcessLauncher

SECRET = "of-front-and-workers-alone"


class Fronted(Running):
    """A running front."""

    @property
    def front(self) -> Front:
        return self.server

    def worker_of(self, session: str) -> Worker:
        """Returns the worker that has a session."""
        known = self.front.directory.get(session)
        assert known is not None
        return known.worker

    async def until(self, look: Any, timeout_s: float = 60.0) -> None:
        """Waits until `look()` is true."""
        async with asyncio.timeout(timeout_s):
            while not look():
                await asyncio.sleep(0.02)

    async def ready(self, count: int) -> None:
        """Waits until `count` workers are ready."""
        await self.until(lambda: sum(worker.available for worker in self.front.pool) >= count)


@contextlib.asynccontextmanager
async def fronted(workers: int = 2, **settings: Any) -> AsyncIterator[Fronted]:
    """Runs a front whose `workers` are ready."""
    chosen = Settings(**{"engine": "passthrough", "port": 0, "max_sessions": 4, "step_down": False, **settings})
    app = create_front(chosen, ProcessLauncher(chosen, SECRET, workers), SECRET)
    server = uvicorn.Server(uvicorn_config(chosen, app))
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.02)
        if task.done():
            task.result()
    running = Fronted(app, server)
    try:
        await running.ready(workers)
        yield running
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def connected(running: Running, **headers: str) -> AsyncIterator[tuple[Participant, str]]:
    """Gives a participant whose pictures come back, and the name of the session."""
    async with Participant(running.ws, **headers) as tab:
        welcome = await tab.wait(type="welcome")
        assert (await tab.offer())["type"] == "answer"
        await tab.pictures(3)
        yield tab, welcome["session"]
