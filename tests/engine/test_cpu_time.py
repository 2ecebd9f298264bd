"""engine.cpu_time: CPU seconds by part of the work."""

import threading

import pytest

from engine.cpu_time import CpuTimes


class Hands:
    """A clock that moves by what is put on it."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s

    def spend_and_fail(self, seconds: float) -> None:
        self.s += seconds
        raise KeyError


@pytest.fixture
def hands() -> Hands:
    return Hands()


def test_a_part_counts_without_the_parts_inside_it(hands: Hands) -> None:
    """Of nested parts each counts its own seconds, so that all together are what was spent."""
    times = CpuTimes(hands)
    with times.part("prepare"):
        hands.s += 1
        for _ in range(2):
            with times.part("track"):
                hands.s += 2
                with times.part("network"):
                    hands.s += 4
        hands.s += 8
    assert times.seconds() == {"prepare": 9.0, "track": 4.0, "network": 8.0}


def test_a_part_that_raises_counts(hands: Hands) -> None:
    """The seconds up to an exception are counted, and the part around it goes on."""
    times = CpuTimes(hands)
    with times.part("prepare"):
        with pytest.raises(KeyError), times.part("track"):
            hands.spend_and_fail(3)
        hands.s += 1
    assert times.seconds() == {"prepare": 1.0, "track": 3.0}


def test_threads_add_up_and_do_not_nest_in_one_another(hands: Hands) -> None:
    """A part on another thread is not inside the one that runs here."""
    times = CpuTimes(hands)

    def encode() -> None:
        with times.part("encode"):
            pass

    with times.part("encode"):
        hands.s += 1
        thread = threading.Thread(target=encode)
        thread.start()
        thread.join()
    assert times.seconds() == {"encode": 1.0}
