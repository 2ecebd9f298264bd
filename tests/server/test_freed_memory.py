"""Memory goes back to the system after somebody left, and not for each of many."""

from server.freed_memory import EVERY_S, FreedMemory, malloc_trim
from tests.engine.fakes import Clock


async def test_memory_goes_back_once_after_many_left() -> None:
    asked: list[int] = []

    def trim(pad: int) -> int:
        asked.append(pad)
        return 1

    clock = Clock()
    memory = FreedMemory(trim, clock)
    clock.now += EVERY_S
    assert not await memory.give_back()  # nobody left
    memory.note()
    memory.note()
    assert await memory.give_back()
    memory.note()
    clock.now += 0.9 * EVERY_S
    assert not await memory.give_back()  # too soon
    clock.now += 0.1 * EVERY_S
    assert await memory.give_back()
    assert not await memory.give_back()
    assert asked == [0, 0]


async def test_without_glibc_nothing_happens() -> None:
    clock = Clock()
    memory = FreedMemory(None, clock)
    memory.note()
    clock.now += EVERY_S
    assert not await memory.give_back()


def test_the_system_s_own_function_can_be_called() -> None:
    trim = malloc_trim()
    assert trim is None or trim(0) in (0, 1)
