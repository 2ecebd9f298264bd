"""engine.diffusion.batching: jobs share calls without knowing of one another."""

import gc
import weakref
from collections.abc import Callable
from functools import partial

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.diffusion.batching import BatchScheduler, Start, run_alone  # noqa: E402
from engine.protocols import DenoiseRequest, DenoiseResult  # noqa: E402


class Doubler:
    """A backend whose prediction of x is 2x; writes down the requests of every call."""

    name = "doubler"

    def __init__(self, trouble: Callable[[list[DenoiseRequest]], None] = lambda requests: None) -> None:
        self.calls: list[list[float]] = []
        self._trouble = trouble

    def denoise(self, requests):
        self.calls.append([float(request.x[0]) for request in requests])
        self._trouble(requests)
        return [DenoiseResult(None, request.x * 2) for request in requests]


class Power:
    """A job of `steps` steps; fails before step `fails_at`, the first of them in its start."""

    def __init__(self, start: float, steps: int, branches: int, fails_at: int | None) -> None:
        self.x, self.left, self.steps, self.branches, self.fails_at = (
            torch.tensor([start]),
            steps,
            0,
            branches,
            fails_at,
        )
        self.name = start
        self._check()

    def _check(self) -> None:
        assert torch.is_inference_mode_enabled()
        if self.steps == self.fails_at:
            raise ValueError(f"job {self.name} fails")

    def request(self) -> DenoiseRequest:
        assert torch.is_inference_mode_enabled()
        return DenoiseRequest(self.x, 1.0, None, None, self.branches)

    def advance(self, result: DenoiseResult) -> float | None:
        self.x, self.left, self.steps = result.v2, self.left - 1, self.steps + 1
        if not self.left:
            return float(self.x)
        self._check()
        return None


def job(start: float, steps: int, branches: int = 1, fails_at: int | None = None) -> Start[float]:
    return partial(Power, start, steps, branches, fails_at)


def waiting(*starts: Start[float], arrivals: dict[int, list[Start[float]]] | None = None):
    """What waits: `starts` at once; `arrivals` from that many calls on."""
    queue, calls = list(starts), 0

    def next_batch(free: int) -> list[Start[float]]:
        nonlocal calls
        queue.extend((arrivals or {}).get(calls, []))
        calls += 1
        taken = queue[:free]
        del queue[:free]
        return taken

    return next_batch


def results(backend: Doubler, next_batch, limit: int = 2) -> dict[int, float | Exception]:
    return dict(BatchScheduler(backend, next_batch, limit).run())


def test_equal_jobs_share_every_call() -> None:
    """Two jobs of 4 steps need 4 calls, and each gets its own result."""
    backend = Doubler()
    assert results(backend, waiting(job(1, 4), job(3, 4))) == {0: 16.0, 1: 48.0}
    assert backend.calls == [[1, 3], [2, 6], [4, 12], [8, 24]]


def test_a_step_is_one_call_for_each_and_says_who_ended() -> None:
    """Step by step, without a loop around: nothing after the first, both results after the second, then nothing."""
    scheduler = BatchScheduler(Doubler(), waiting(job(1, 2), job(3, 2)), 2)
    assert [scheduler.step() for _ in range(3)] == [[], [(0, 4.0), (1, 12.0)], []]


def test_a_short_job_does_not_wait_for_a_long_one() -> None:
    """It is given back after its own steps; the long one goes on alone, and the next joins it midway."""
    backend = Doubler()
    next_batch = waiting(job(1, 5), job(3, 1), arrivals={2: [job(5, 2)]})
    seen = [(place, len(backend.calls)) for place, _ in BatchScheduler(backend, next_batch, 2).run()]
    assert seen == [(1, 1), (2, 4), (0, 5)]
    assert [len(call) for call in backend.calls] == [2, 1, 2, 2, 1]


def test_no_more_than_the_limit_are_under_way() -> None:
    """Five that wait go in as places fall free, oldest first."""
    backend = Doubler()
    assert list(results(backend, waiting(*(job(i, 2) for i in range(5))))) == [0, 1, 2, 3, 4]
    assert max(len(call) for call in backend.calls) == 2
    assert len(backend.calls) == 6


def test_unlike_requests_do_not_share_a_call() -> None:
    """One branch and two cannot be stacked; both jobs end nevertheless."""
    backend = Doubler()
    assert results(backend, waiting(job(1, 2), job(3, 2, branches=2))) == {0: 4.0, 1: 12.0}
    assert all(len(call) == 1 for call in backend.calls)


@pytest.mark.parametrize("fails_at", [0, 1])
def test_a_job_that_raises_ends_alone(fails_at: int) -> None:
    """At its start or midway: its neighbour gets the result it gets without it."""
    got = results(Doubler(), waiting(job(1, 3, fails_at=fails_at), job(3, 3)))
    assert isinstance(got[0], ValueError)
    assert got[1] == 24.0


def test_a_failing_call_ends_those_that_shared_it() -> None:
    """The others, and whoever comes later, go on."""

    def trouble(requests) -> None:
        if float(requests[0].x[0]) == 2:
            raise RuntimeError("out of memory")

    got = results(Doubler(trouble), waiting(job(1, 3), job(3, 3), job(5, 1)))
    assert isinstance(got[0], RuntimeError)
    assert isinstance(got[1], RuntimeError)
    assert got[2] == 10.0


def test_left_early_it_lets_go_of_what_is_under_way() -> None:
    """Whoever reads the results may stop; a `next_batch` that raises ends it as well. Inference mode does not leak."""
    held: list[weakref.ref] = []

    def kept(start: Start[float]) -> Start[float]:
        def begin():
            made = start()
            held.append(weakref.ref(made))
            return made

        return begin

    found = BatchScheduler(Doubler(), waiting(job(1, 1), kept(job(3, 9))), 2).run()
    assert next(found) == (0, 2.0)
    assert not torch.is_inference_mode_enabled()
    found.close()
    gc.collect()
    assert [each() for each in held] == [None]

    def next_batch(free: int) -> list[Start[float]]:
        if len(held) == 1:
            return [kept(job(7, 9))]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(BatchScheduler(Doubler(), next_batch, 1).run())
    gc.collect()
    assert [each() for each in held] == [None, None]


def test_alone_it_returns_or_raises() -> None:
    """The result itself, or what ended the job; as many calls as steps."""
    backend = Doubler()
    assert run_alone(backend, job(1, 3)) == 8.0
    assert backend.calls == [[1], [2], [4]]
    for fails_at in (0, 2):
        with pytest.raises(ValueError, match="job 1 fails"):
            run_alone(Doubler(), job(1, 3, fails_at=fails_at))
