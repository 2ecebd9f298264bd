"""Continuous batching: windows of several participants share the denoiser's calls, step by step.

A job asks for one prediction at a time (`request`), takes it (`advance`) and gives its result after its last step, so
each keeps its own state, its own number of steps and its own end. Nobody waits for a window that is not there yet, nor
for a longer one to end: at every step windows that came meanwhile are admitted, and one that is done leaves (Orca, Yu
et al. 2022, Sec. 3.1, calls it iteration-level scheduling).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import torch

from engine.protocols import Backend, DenoiseRequest, DenoiseResult

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Job(Protocol[T_co]):
    """One window under way."""

    def request(self) -> DenoiseRequest:
        """The prediction it waits for."""

    def advance(self, result: DenoiseResult) -> T_co | None:
        """Go one step on; the job's own result after the last step, else None."""


Start = Callable[[], Job[T]]  # begins a job on the device


class BatchScheduler(Generic[T]):
    """Runs jobs through `backend`, at most `limit` at once. A job's failure is its own; a failed call's, of its jobs.

    `next_batch(n)` returns at most `n` starts that wait, oldest first, and never blocks.
    """

    def __init__(self, backend: Backend, next_batch: Callable[[int], Sequence[Start[T]]], limit: int = 1) -> None:
        self._backend, self._next_batch, self._limit = backend, next_batch, limit
        self._jobs: dict[int, Job[T]] = {}  # by place in the order taken
        self._ended: list[tuple[int, T | Exception]] = []
        self._count = 0

    def run(self) -> Iterator[tuple[int, T | Exception]]:
        """Step until nothing is under way and nothing waits; yield each result as soon as it is known."""
        while (ended := self.step()) or self._jobs:
            yield from ended

    def step(self) -> list[tuple[int, T | Exception]]:
        """Admit what waits, denoise every job once, and return (place, result or exception) of those that ended."""
        waiting = self._next_batch(self._limit - len(self._jobs))
        with torch.inference_mode():
            self._admit(waiting)
            for group in self._groups():
                self._denoise(group)
        ended, self._ended = self._ended, []
        return ended

    def _admit(self, waiting: Sequence[Start[T]]) -> None:
        for place, start in enumerate(waiting, self._count):
            try:
                self._jobs[place] = start()
            except Exception as error:  # the worker boundary: a participant's trouble is not the others'
                self._ended.append((place, error))
        self._count += len(waiting)

    def _groups(self) -> list[dict[int, DenoiseRequest]]:
        """The requests of all jobs, those that fit one call together, oldest first."""
        groups: dict[tuple[object, ...], dict[int, DenoiseRequest]] = {}
        for place, job in list(self._jobs.items()):
            try:
                request = job.request()
            except Exception as error:  # the worker boundary
                self._end(place, error)
            else:
                groups.setdefault((request.branches, tuple(request.x.shape)), {})[place] = request
        return list(groups.values())

    def _denoise(self, group: dict[int, DenoiseRequest]) -> None:
        """One call of the network; each job of the group goes one step on, or all end with the call's exception."""
        try:
            results = self._backend.denoise(list(group.values()))
        except Exception as error:  # the worker boundary
            for place in group:
                self._end(place, error)
            return
        for place, result in zip(group, results, strict=True):
            try:
                made = self._jobs[place].advance(result)
            except Exception as error:  # the worker boundary
                self._end(place, error)
            else:
                if made is not None:
                    self._end(place, made)

    def _end(self, place: int, outcome: T | Exception) -> None:
        del self._jobs[place]
        self._ended.append((place, outcome))


@torch.inference_mode()
def run_alone(backend: Backend, start: Start[T]) -> T:
    """Run one job to its end, every step a call of its own, and return its result. Raises what ends it."""
    job = start()
    while True:
        (result,) = backend.denoise([job.request()])
        made = job.advance(result)
        if made is not None:
            return made
