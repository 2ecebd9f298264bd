"""Workers that are not equally full are evened out, without hurry and without a gap."""

import asyncio

import pytest

from server.cluster import balance
from server.cluster.balance import LASTING_S, Balance
from server.cluster.worker import Worker
from server.cluster.worker_app import WorkerStatus
from tests.server.client import Participant
from tests.server.cluster.fronted import connected, fronted
from tests.server.cluster.test_failover import resumed
from tests.server.cluster.test_parts import worker


def filled(number: int, count: int, ready: bool = True) -> Worker:
    """Returns a worker of six places with `count` participants."""
    one = worker(number)
    one.sessions = {f"{number}-{place}" for place in range(count)}
    one.status = WorkerStatus(ready=ready, limit=6, inside=count)
    return one


def test_one_at_a_time_moves_and_only_after_a_while() -> None:
    """Two places apart for LASTING_S is too much; then it takes as long again until the next one."""
    looks, workers = Balance(), [filled(0, 4), filled(1, 0)]
    assert looks.overfull(workers, 0.0) is None
    assert looks.overfull(workers, LASTING_S - 0.1) is None
    assert looks.overfull(workers, LASTING_S) is workers[0]
    assert looks.overfull(workers, LASTING_S + 1.0) is None
    assert looks.overfull(workers, 2 * LASTING_S) is workers[0]


def test_a_short_difference_is_none() -> None:
    """Who left for a moment comes back: the time counts anew."""
    looks, full, empty = Balance(), filled(0, 4), filled(1, 0)
    assert looks.overfull([full, empty], 0.0) is None
    assert looks.overfull([full, filled(1, 3)], 5.0) is None
    assert looks.overfull([full, empty], LASTING_S) is None
    assert looks.overfull([full, empty], 2 * LASTING_S) is full


def test_who_has_a_worker_alone_stays() -> None:
    """A larger worker has more places free, and yet is no better for a participant who shares with nobody."""
    looks, small, large = Balance(), filled(0, 1), filled(1, 3)
    small.status.limit, large.status.limit = 2, 8
    assert [looks.overfull([small, large], now_s) for now_s in (0.0, LASTING_S, 60.0)] == [None] * 3


@pytest.mark.parametrize("other", [filled(1, 3), filled(1, 0, ready=False)], ids=["nearly as full", "not ready"])
def test_nobody_moves_where_it_helps_nobody(other: Worker) -> None:
    """A difference of one would only be turned round; a worker that warms up takes nobody."""
    looks = Balance()
    assert [looks.overfull([filled(0, 4), other], now_s) for now_s in (0.0, LASTING_S, 60.0)] == [None] * 3


def test_a_drain_goes_first() -> None:
    """Its participants are being moved as it is."""
    looks, leaving = Balance(), filled(2, 1)
    leaving.draining = True
    workers = [filled(0, 4), filled(1, 0), leaving]
    assert [looks.overfull(workers, now_s) for now_s in (0.0, LASTING_S, 60.0)] == [None] * 3


async def test_a_participant_is_moved_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old session goes on until the participant leaves it, though its worker stays; nobody else is told."""
    monkeypatch.setattr(balance, "LASTING_S", 1.0)
    async with fronted() as running, connected(running) as (tab, session), connected(running) as (other, _):
        first = running.worker_of(session)
        async with connected(running) as (third, name):
            assert running.worker_of(name) is first, "of two with as much room the older one is taken"
            await other.leave()
            told = [asyncio.create_task(each.wait(type="notice", code="moving")) for each in (tab, third)]
            done, waiting = await asyncio.wait(told, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1
            mover, lost = (tab, session) if told[0] in done else (third, name)
            async with Participant(running.ws) as moved:
                assert (await resumed(running, moved, lost))["type"] == "ack"
                assert (await moved.offer())["type"] == "answer"
                await moved.pictures(3)
                assert await mover.pictures(1), "the old picture stopped before the new one was there"
                await mover.leave()
                await running.until(lambda: sorted(len(each.sessions) for each in running.front.pool) == [1, 1])
                await asyncio.sleep(1.5)
                assert not any(task.done() for task in waiting)
            for task in waiting:
                task.cancel()
