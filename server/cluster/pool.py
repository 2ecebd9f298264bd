"""The workers of one front: started, asked for their health, replaced when they die or hang, drained on request."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

import httpx

from server.cluster.hang import Hang
from server.cluster.launcher import Launcher
from server.cluster.worker import Worker
from server.errors import NotReady, NoWorker, ServerError
from server.session.tasks import Tasks

logger = logging.getLogger(__name__)

ASK_EVERY_S = 0.25
LATE_S = 0.25  # by so much the front itself was late: then it judges nobody
WARM_LIMIT_S = 600.0
REPLACE_AFTER_S = 5.0  # those who lost theirs come back first: on the same cores a warm-up would hold them up
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between attempts to replace a worker


async def nothing(worker: Worker) -> None:
    """Asks nobody to leave."""


class WorkerPool:
    """Owns the workers. Everything on the event loop; the launcher's calls on threads."""

    def __init__(self, launcher: Launcher, secret: str, timeout_s: float, drain_s: float) -> None:
        self._launcher = launcher
        self._secret = secret
        self._timeout_s = timeout_s
        self._drain_s = drain_s
        self._workers: dict[int, Worker] = {}
        self._next = 0
        self._tasks = Tasks("the workers")
        self._drains: dict[int, asyncio.Task[None]] = {}
        self._closing = False
        self.died = 0  # workers that were lost
        self.on_drain: Callable[[Worker], Awaitable[None]] = nothing  # asks its participants to leave, and waits for it
        self.on_status: Callable[[Worker, set[str]], None] = lambda worker, asked: None  # and what it had when asked

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    async def start(self) -> None:
        """Starts the workers and returns once the first is warm. Raises ServerError."""
        starting = [asyncio.ensure_future(self._launch()) for _ in range(self._launcher.count)]
        done, _ = await asyncio.wait(starting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not self._closing:
                task.result()
        self._tasks.spawn(self._all_of(starting))
        deadline_s = time.monotonic() + WARM_LIMIT_S
        while not any(worker.status.ready for worker in self) and time.monotonic() < deadline_s and not self._closing:
            await asyncio.sleep(ASK_EVERY_S / 2)

    def give_up(self) -> None:
        """Ends a start that is under way; on any thread."""
        self._closing = True
        self._launcher.stop()

    async def close(self) -> None:
        """Ends every worker."""
        self._closing = True
        for draining in self._drains.values():
            draining.cancel()
        await self._tasks.cancel()
        await asyncio.gather(*(worker.end() for worker in self), return_exceptions=True)
        self._workers.clear()
        await asyncio.to_thread(self._launcher.stop)

    def choose(self) -> Worker:
        """Returns the worker with most places free. Raises NotReady where none is ready."""
        return _freest(worker for worker in self if worker.available)

    def any(self) -> Worker:
        """Returns the worker that is the least busy, also one that is being drained. Raises NotReady."""
        return _freest(worker for worker in self if worker.status.ready and not worker.gone.is_set())

    async def drain(self, number: int, replace: bool = True) -> None:
        """Moves everyone off a worker and ends it, after its successor is warm where it gets one.

        Again: waits for the same end. Raises NoWorker, and WorkersUnavailable or NotReady of a successor.
        """
        worker = self._workers.get(number)
        if worker is None or worker.gone.is_set():
            raise NoWorker(f"worker={number} does not exist", f"one of {', '.join(map(str, self._workers)) or 'none'}")
        if (draining := self._drains.get(number)) is None:
            draining = self._drains[number] = asyncio.ensure_future(self._drain(worker, replace))
            draining.add_done_callback(lambda task: self._drained(number, task))
        await asyncio.shield(draining)

    async def _drain(self, worker: Worker, replace: bool) -> None:
        if replace:
            successor = await self._launch()
            try:
                await self._warm(successor)
            except NotReady:
                await self._end(successor)
                raise
        elif not any(each.available and each is not worker for each in self):
            raise NoWorker(f"worker={worker.number} is the only one", "drain it with a successor: without --retire")
        worker.draining = True
        logger.info("worker %d is drained: %d sessions", worker.number, len(worker.sessions))
        deadline_s = time.monotonic() + self._drain_s
        asking = asyncio.ensure_future(self.on_drain(worker))
        while worker.sessions and time.monotonic() < deadline_s and not worker.gone.is_set():
            await asyncio.sleep(ASK_EVERY_S / 5)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        if not worker.gone.is_set():
            await self._end(worker)
            logger.info("worker %d has ended", worker.number)

    def _drained(self, number: int, task: "asyncio.Task[None]") -> None:
        self._drains.pop(number, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("worker %d is not drained: %s", number, error)

    async def _all_of(self, starting: Sequence[asyncio.Future[Worker]]) -> None:
        for result in await asyncio.gather(*starting, return_exceptions=True):
            if isinstance(result, ServerError):
                logger.error("%s; %s", result.message, result.hint)
                self._tasks.spawn(self._replace())

    async def _launch(self) -> Worker:
        number, self._next = self._next, self._next + 1
        # Measuring keeps all cores busy for seconds: one worker does it for all on the same machine.
        costs = (worker.status.cost for worker in self if self._launcher.one_machine)
        cost = next((cost for cost in costs if cost is not None), None)
        launched = await asyncio.to_thread(self._launcher.launch, number, cost)
        worker = Worker(number, launched, self._secret)
        if self._closing:
            await worker.end()
            raise NotReady("the server is shutting down", "start it again")
        self._workers[number] = worker
        self._tasks.spawn(self._watch(worker))
        return worker

    async def _warm(self, worker: Worker) -> None:
        deadline_s = time.monotonic() + WARM_LIMIT_S
        while not worker.status.ready:
            if worker.gone.is_set() or time.monotonic() > deadline_s:
                raise NotReady("the worker's successor did not get warm", "see the log of the workers")
            await asyncio.sleep(ASK_EVERY_S / 2)

    async def _watch(self, worker: Worker) -> None:
        """Asks a worker for its status until it does not answer, which ends it."""
        allowed_s = WARM_LIMIT_S  # it answers nothing before its engine is warm
        hang = Hang(self._timeout_s, time.monotonic())
        while not worker.gone.is_set():
            had = set(worker.sessions)
            # Not asked anew at each look: an answer that is late for every look is one all the same.
            asking = asyncio.ensure_future(worker.ask(WARM_LIMIT_S))
            try:
                while not asking.done():
                    if await self._hangs(worker, hang, asking, allowed_s):
                        asking.cancel()
                        await self.lose(worker, "does not answer")
                        return
                asking.result()
                self.on_status(worker, had)
                allowed_s = self._timeout_s / 2  # two looks before a verdict
                hang.answered(time.monotonic())
            except httpx.HTTPError:
                if not worker.gone.is_set():
                    await self.lose(worker, "has died")
            else:
                await asyncio.sleep(ASK_EVERY_S)
            finally:
                asking.cancel()

    async def _hangs(self, worker: Worker, hang: Hang, asking: "asyncio.Task[None]", allowed_s: float) -> bool:
        """Waits for the answer for `allowed_s`; returns True where there is none and never will be."""
        looked_s = time.monotonic()
        await asyncio.wait([asking], timeout=allowed_s)
        now_s = time.monotonic()
        front_slept = now_s - looked_s > allowed_s + LATE_S
        return not asking.done() and not front_slept and hang.silent(worker.launched.cpu_s(), now_s)

    async def check(self, worker: Worker) -> None:
        """Asks a worker at once whose socket broke: the next participant is not to be sent to a dead one."""
        if worker.gone.is_set():
            return
        try:
            await worker.ask(self._timeout_s)
        except httpx.TimeoutException:
            return  # the watch judges that
        except httpx.HTTPError:
            await self.lose(worker, "has died")

    async def lose(self, worker: Worker, why: str) -> None:
        """Ends a worker that died or hangs, and starts another in its place."""
        if worker.gone.is_set():
            return
        logger.error("worker %d (%s) %s", worker.number, worker.launched.place, why)
        self.died += 1
        if not self._closing and worker.number not in self._drains:  # a drain has its own successor, or wants none
            self._tasks.spawn(self._replace())
        await self._end(worker)

    async def _end(self, worker: Worker) -> None:
        """Ends a worker; its participants leave before anything that takes time."""
        self._workers.pop(worker.number, None)
        await worker.end()
        self.on_status(worker, set(worker.sessions))

    async def _replace(self) -> None:
        pause_s = FIRST_PAUSE_S
        if any(worker.available for worker in self):
            await asyncio.sleep(REPLACE_AFTER_S)
        while not self._closing:
            try:
                await self._launch()
                return
            except ServerError as error:
                logger.error("%s; next attempt in %.0f s", error.message, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)


def _freest(workers: Iterable[Worker]) -> Worker:
    """Returns the worker with most places free, the oldest of several. Raises NotReady where there is none."""
    able = list(workers)
    if not able:
        raise NotReady("no worker is ready", "try again in a few seconds")
    return max(able, key=lambda worker: (worker.free, -worker.number))
