"""The mailbox is bounded, newest wins, and every drop counts."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.live.mailbox import Mailbox
from tests.engine.fakes import until


def test_newest_wins() -> None:
    """A full box gives up its oldest item and says so."""
    box: Mailbox[int] = Mailbox(2)
    assert [box.put(i) for i in range(5)] == [0, 0, 1, 1, 1]
    assert [box.pop(), box.pop(), box.pop()] == [3, 4, None]
    assert box.drops == 3


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4))
def test_nothing_is_lost_unseen(moves: list[bool], capacity: int) -> None:
    """Whatever is put is read, still there, or counted; order holds and the bound too."""
    box: Mailbox[int] = Mailbox(capacity)
    read = []
    sent = 0
    for put in moves:
        if put:
            box.put(sent)
            sent += 1
        elif (item := box.pop()) is not None:
            read.append(item)
        assert len(box) <= capacity
    assert sent == len(read) + len(box) + box.drops
    assert read == sorted(read)


def test_clear_and_drop_oldest() -> None:
    """Cleared items were unwanted and do not count; a given-up one does."""
    box: Mailbox[int] = Mailbox(3)
    for i in range(3):
        box.put(i)
    box.drop_oldest()
    assert (box.peek(), box.peek(-1), box.peek(5)) == (1, 2, None)
    assert box.clear() == 2
    assert box.drops == 1


@pytest.mark.parametrize("end", ["put", "wake", "close"])
def test_a_waiting_get_returns(end: str) -> None:
    """A put, a wake and a close all free the thread that waits."""
    box: Mailbox[int] = Mailbox()
    got: list[int | None] = []
    thread = threading.Thread(target=lambda: got.append(box.get()))
    thread.start()
    {"put": lambda: box.put(7), "wake": box.wake, "close": box.close}[end]()
    thread.join(10)
    assert got == [7 if end == "put" else None]


def test_a_wake_is_kept_for_the_next_get() -> None:
    """A wake before the get is not lost, and counts once."""
    box: Mailbox[int] = Mailbox()
    box.wake()
    assert box.get() is None
    assert box.get(timeout_s=0.001) is None
    box.put(3)
    assert box.get() == 3


def test_closed_takes_nothing() -> None:
    """After close puts vanish and gets return at once."""
    box: Mailbox[int] = Mailbox()
    box.close()
    box.put(1)
    assert box.get() is None
    assert len(box) == 0


def test_capacity_is_checked() -> None:
    """A box for nothing is a mistake."""
    with pytest.raises(ValueError, match="capacity=0"):
        Mailbox(0)


def test_two_threads() -> None:
    """Between a fast writer and a slow reader nothing goes missing uncounted."""
    box: Mailbox[int] = Mailbox(2)
    read: list[int] = []

    def reader() -> None:
        while (item := box.get()) is not None:
            read.append(item)

    thread = threading.Thread(target=reader)
    thread.start()
    for i in range(2000):
        box.put(i)
    until(lambda: len(read) + box.drops == 2000)
    box.close()
    thread.join(10)
    assert read == sorted(set(read))
    assert read[-1] == 1999
