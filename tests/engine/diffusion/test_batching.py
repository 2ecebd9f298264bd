"""engine.diffusion.batching: runs share calls without knowing of one another."""

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="pip install 'relight-live[lcvd]'")

from engine.diffusion.batching import Steps, run_alone, run_together  # noqa: E402
from engine.protocols import Ask  # noqa: E402


class Doubler:
    """A backend whose answer to x is 2x; writes down how many asks every call had."""

    name = "doubler"

    def __init__(self, trouble: Callable[[list[Ask]], None] = lambda asks: None) -> None:
        self.calls: list[list[float]] = []
        self._trouble = trouble

    def denoise(self, asks):
        self.calls.append([float(ask.x[0]) for ask in asks])
        self._trouble(asks)
        return [(None, ask.x * 2) for ask in asks]


def run(start: float, steps: int, branches: int = 1, fails_at: int | None = None, closed: list | None = None) -> Steps:
    x = torch.tensor([start])
    try:
        for i in range(steps):
            if i == fails_at:
                raise ValueError(f"run {start} fails")
            assert torch.is_inference_mode_enabled()
            _, x = yield Ask(x, 1.0, None, None, branches)
        return float(x)
    finally:
        if closed is not None:
            closed.append(start)


def taking(*runs: Steps, arrivals: dict[int, list[Steps]] | None = None):
    """What waits: `runs` at once; `arrivals` from that many calls of take on."""
    waiting, calls = list(runs), 0

    def take(free: int) -> list[Steps]:
        nonlocal calls
        waiting.extend((arrivals or {}).get(calls, []))
        calls += 1
        taken = waiting[:free]
        del waiting[:free]
        return taken

    return take


def test_equal_runs_share_every_call() -> None:
    """Two runs of 4 steps need 4 calls, and each gets its own result."""
    backend = Doubler()
    results = dict(run_together(backend, taking(run(1, 4), run(3, 4)), limit=2))
    assert results == {0: 16.0, 1: 48.0}
    assert backend.calls == [[1, 3], [2, 6], [4, 12], [8, 24]]


def test_a_short_run_does_not_wait_for_a_long_one() -> None:
    """It is given back after its own steps; the long one goes on alone, and the next joins it midway."""
    backend = Doubler()
    seen = []
    take = taking(run(1, 5), run(3, 1), arrivals={2: [run(5, 2)]})
    for place, _ in run_together(backend, take, limit=2):
        seen.append((place, len(backend.calls)))
    assert seen == [(1, 1), (2, 4), (0, 5)]
    assert [len(call) for call in backend.calls] == [2, 1, 2, 2, 1]


def test_no_more_than_the_limit_are_under_way() -> None:
    """Five that wait go in as places fall free, oldest first."""
    backend = Doubler()
    order = [place for place, _ in run_together(backend, taking(*(run(i, 2) for i in range(5))), limit=2)]
    assert order == [0, 1, 2, 3, 4]
    assert max(len(call) for call in backend.calls) == 2
    assert len(backend.calls) == 6


def test_unlike_asks_do_not_share_a_call() -> None:
    """One branch and two cannot be stacked; both runs end nevertheless."""
    backend = Doubler()
    assert dict(run_together(backend, taking(run(1, 2), run(3, 2, branches=2)), limit=2)) == {0: 4.0, 1: 12.0}
    assert all(len(call) == 1 for call in backend.calls)


def test_a_run_that_raises_ends_alone() -> None:
    """Its neighbour gets the result it gets without it."""
    results = dict(run_together(Doubler(), taking(run(1, 3, fails_at=1), run(3, 3)), limit=2))
    assert isinstance(results[0], ValueError)
    assert results[1] == 24.0


def test_a_failing_call_ends_those_that_shared_it() -> None:
    """The others, and whoever comes later, go on; what has ended is closed."""

    def trouble(asks) -> None:
        if float(asks[0].x[0]) == 2:
            raise RuntimeError("out of memory")

    closed: list = []
    runs = taking(run(1, 3, closed=closed), run(3, 3, closed=closed), run(5, 1, closed=closed))
    results = dict(run_together(Doubler(trouble), runs, limit=2))
    assert isinstance(results[0], RuntimeError)
    assert isinstance(results[1], RuntimeError)
    assert results[2] == 10.0
    assert closed == [1, 3, 5]


def test_left_early_it_closes_what_is_under_way() -> None:
    """Whoever reads the results may stop; a `take` that raises ends it as well. Inference mode does not leak."""
    closed: list = []
    results = run_together(Doubler(), taking(run(1, 1), run(3, 9, closed=closed)), limit=2)
    assert next(results) == (0, 2.0)
    assert not torch.is_inference_mode_enabled()
    results.close()
    assert closed == [3]

    def take(free: int) -> list[Steps]:
        if closed == [3]:
            closed.clear()
            return [run(7, 9, closed=closed)]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(run_together(Doubler(), take, limit=1))
    assert closed == [7]


def test_alone_it_returns_or_raises() -> None:
    """The result itself, or what ended the run; a run without a single ask too."""
    assert run_alone(Doubler(), run(1, 3)) == 8.0
    assert run_alone(Doubler(), run(1, 0)) == 1.0
    with pytest.raises(ValueError, match="run 1 fails"):
        run_alone(Doubler(), run(1, 3, fails_at=2))
