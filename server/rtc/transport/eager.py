"""Runs a coroutine at once, and as a task only from where it has to wait (as Python 3.12's eager tasks do)."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any


def begin(coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
    """Runs `coroutine` up to where it waits, and returns the task of what is left; None: nothing is.

    Raises what the coroutine raises before it waits. Until then it is no task: it may not ask for the present one.
    """
    try:
        waiting = coroutine.send(None)
    except StopIteration:
        return None
    return asyncio.ensure_future(_rest(coroutine, waiting))


async def _rest(coroutine: Coroutine[Any, Any, None], waiting: Any) -> None:
    await _from(coroutine, waiting)


@types.coroutine
def _from(coroutine: Coroutine[Any, Any, None], waiting: Any) -> Generator[Any, Any, None]:
    """Waits for what the coroutine waits for, hands the answer on, and so forth, until it ends."""
    while True:
        failed: BaseException | None = None
        try:
            answer = yield waiting
        except BaseException as error:
            failed = error
        try:
            waiting = coroutine.send(answer) if failed is None else coroutine.throw(failed)
        except StopIteration:
            return
