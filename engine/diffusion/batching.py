"""Windows of several participants through one backend, step by step together: those that ask at once share a call.

A window is a generator of Asks (`engine.diffusion.sampler.window_steps` wrapped in its stages), so each keeps its own
state, its own number of steps and its own end. Nobody waits for a window that is not there yet, nor for a longer one to
end: at every step windows that came meanwhile join, and one that is done leaves.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

import torch

from engine.protocols import Answer, Ask, Backend

T = TypeVar("T")
Steps = Generator[Ask, Answer, T]
Take = Callable[[int], Sequence[Steps[T]]]  # runs that wait, oldest first, at most so many; never waits itself


def run_together(backend: Backend, take: Take[T], limit: int = 1) -> Iterator[tuple[int, T | Exception]]:
    """(place in the order taken, what the run returns or the exception that ended it), each as soon as it is known.

    At most `limit` runs are under way at once; ends when none is and `take` gives none. A run's own failure is its own;
    a failing call ends those that shared it. Left early, it closes what is under way.
    """
    runs: dict[int, Steps[T]] = {}
    asked: dict[int, Ask] = {}
    ended: list[tuple[int, T | Exception]] = []
    count = 0

    def resume(i: int, answer: Answer | None) -> None:
        asked.pop(i, None)
        try:
            # send(None) starts a generator
            asked[i] = runs[i].send(answer)  # type: ignore[arg-type]
        except StopIteration as done:
            ended.append((i, done.value))
        except Exception as error:  # the worker door: a participant's trouble is not the others'
            ended.append((i, error))

    try:
        while True:
            new = take(limit - len(runs))
            if not (new or runs):
                return
            with torch.inference_mode():  # not around a yield: it would leak into whoever reads the results
                for run in new:
                    runs[count] = run
                    resume(count, None)
                    count += 1
                for group in _groups(asked):
                    _answer(backend, group, asked, resume, ended)
            for i, result in ended:
                runs.pop(i).close()
                yield i, result
            ended.clear()
    finally:
        for run in runs.values():
            run.close()


def run_alone(backend: Backend, run: Steps[T]) -> T:
    """What the run returns; raises what ended it."""
    waiting = [run]
    ((_, result),) = run_together(backend, lambda free: [waiting.pop()] if waiting else [])
    if isinstance(result, Exception):
        raise result
    return result


def _answer(
    backend: Backend,
    group: list[int],
    asked: dict[int, Ask],
    resume: Callable[[int, Answer | None], None],
    ended: list[tuple[int, T | Exception]],
) -> None:
    """One call for the runs of `group`."""
    try:
        answers = backend.denoise([asked[i] for i in group])
    except Exception as error:  # the worker door
        for i in group:
            del asked[i]
            ended.append((i, error))
        return
    for i, answer in zip(group, answers, strict=True):
        resume(i, answer)


def _groups(asked: dict[int, Ask]) -> list[list[int]]:
    """Runs whose asks fit one call, oldest first."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for i in sorted(asked):
        ask = asked[i]
        alike.setdefault((ask.branches, tuple(ask.x.shape)), []).append(i)
    return list(alike.values())
