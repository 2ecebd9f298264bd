"""Windows of several participants through one backend, step by step together: those that ask at once share a call.

A window is a generator of Asks (`engine.sampler.window_steps` wrapped in its stages), so each keeps its own state, its
own number of steps and its own end; nobody waits for a window that is not there yet.
"""

from collections.abc import Generator, Sequence
from typing import TypeVar

import torch

from engine.protocols import Answer, Ask, Backend

T = TypeVar("T")
Steps = Generator[Ask, Answer, T]


def run_together(backend: Backend, runs: Sequence[Steps[T]], limit: int = 1) -> list[T | Exception]:
    """What each run returns, or the exception that ended it; at most `limit` of them share a call.

    A run's own failure is its own. A failing call ends those that shared it.
    """
    results: list[T | Exception | None] = [None] * len(runs)
    asked: dict[int, Ask] = {}

    def resume(i: int, answer: Answer | None) -> None:
        asked.pop(i, None)
        try:
            # send(None) starts a generator
            asked[i] = runs[i].send(answer)  # type: ignore[arg-type]
        except StopIteration as done:
            results[i] = done.value
        except Exception as error:  # the worker door: a participant's trouble is not the others'
            results[i] = error

    with torch.inference_mode():
        for i in range(len(runs)):
            resume(i, None)
        while asked:
            for group in _groups(asked, limit):
                try:
                    answers = backend.denoise([asked[i] for i in group])
                except Exception as error:  # the worker door
                    for i in group:
                        del asked[i]
                        runs[i].close()
                        results[i] = error
                    continue
                for i, answer in zip(group, answers, strict=True):
                    resume(i, answer)
    return [result for result in results if result is not None]


def run_alone(backend: Backend, run: Steps[T]) -> T:
    """What the run returns; raises what ended it."""
    (result,) = run_together(backend, [run])
    if isinstance(result, Exception):
        raise result
    return result


def _groups(asked: dict[int, Ask], limit: int) -> list[list[int]]:
    """Runs whose asks fit one call, oldest first."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for i in sorted(asked):
        ask = asked[i]
        alike.setdefault((ask.branches, tuple(ask.x.shape), isinstance(ask.sigma, float)), []).append(i)
    return [group[k : k + limit] for group in alike.values() for k in range(0, len(group), limit)]
