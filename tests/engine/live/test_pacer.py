"""The pacer keeps the rhythm of the source, adds nothing to single frames and never plays faster to catch up."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.live.pacer import IDLE_WAIT_S, SLACK_S, Pacer

STEP = 1 / 30


@dataclass(frozen=True)
class Picture:
    t_s: float


def pictures(first: int, count: int) -> list[Picture]:
    return [Picture((first + i) * STEP) for i in range(count)]


def play(pacer: Pacer[Picture], now: float, until: float) -> list[tuple[float, float]]:
    """(leaving time, t_s) of all that leaves for a punctual reader from `now` to `until`."""
    left = []
    while now <= until:
        frame, wait_s = pacer.take(now)
        if frame is not None:
            left.append((now, frame.t_s))
        else:
            now += max(wait_s, 1e-6)
    return left


def test_a_single_frame_leaves_at_once() -> None:
    """One in, one out: no delay, however uneven the arrivals."""
    pacer: Pacer[Picture] = Pacer()
    for i, jitter in enumerate([0.0, 0.03, 0.001, 0.02, 0.0, 0.05]):
        now = 10 + i * STEP + jitter
        pacer.put(pictures(i, 1), now)
        frame, wait_s = pacer.take(now)
        assert frame == Picture(i * STEP)
        assert wait_s == IDLE_WAIT_S


def test_a_window_leaves_in_its_rhythm() -> None:
    """Four frames that come together leave 33 ms apart, and windows join without a gap."""
    pacer: Pacer[Picture] = Pacer()
    left = []
    for window in range(5):
        now = 10 + window * 4 * STEP
        assert pacer.put(pictures(4 * window, 4), now) == 4
        left += play(pacer, now, now + 4 * STEP - 1e-4)
    gaps = [b[0] - a[0] for a, b in pairwise(left)]
    assert len(left) == 20
    assert gaps == pytest.approx([STEP] * 19, abs=1e-4)


def test_a_late_window_re_anchors_and_is_not_played_faster() -> None:
    """After a stall of half a second the rhythm goes on from now; nothing is rushed."""
    pacer: Pacer[Picture] = Pacer()
    pacer.put(pictures(0, 4), 10.0)
    left = play(pacer, 10.0, 10.5)
    now = 10.0 + 4 * STEP + 0.5
    pacer.put(pictures(4, 4), now)
    pacer.put(pictures(8, 4), now)  # the one it held up comes right behind
    late = play(pacer, now, now + 1)
    assert late[0][0] == now
    gaps = [b[0] - a[0] for a, b in pairwise(late)]
    assert gaps == pytest.approx([STEP] * 7, abs=1e-3)
    assert len(left) == 4


def test_a_surplus_shrinks_again() -> None:
    """One late window must not cost its delay for ever."""
    pacer: Pacer[Picture] = Pacer()
    delays = []
    for window in range(120):
        now = 10 + window * 4 * STEP + (0.06 if window == 3 else 0.0)
        pacer.put(pictures(4 * window, 4), now)
        delays += [
            at - t for at, t in play(pacer, now, 10 + (window + 1) * 4 * STEP + (0.06 if window == 2 else 0) - 1e-4)
        ]
    assert max(delays) - 10 == pytest.approx(0.06, abs=2e-3)
    assert delays[-1] - 10 < 0.005


def test_single_frames_behind_a_window_lose_its_delay() -> None:
    """A window's delay, once its engine is gone, melts away instead of staying for ever."""
    pacer: Pacer[Picture] = Pacer()
    pacer.put(pictures(0, 4), 10.0)
    delays = []
    for i in range(4, 200):
        now = 10 + (i - 3) * STEP  # each as young as the window's last was
        pacer.put(pictures(i, 1), now)
        delays += [at - t for at, t in play(pacer, now, now + STEP - 1e-9)]
    assert delays[0] > delays[-1] + 2.9 * STEP
    gaps = [b + STEP - a for a, b in pairwise(delays)]
    # Only the last frame of the delay is skipped at once: by then nothing is scheduled ahead any more.
    assert sorted(gaps)[1] >= 0.94 * STEP


def test_a_slow_reader_gets_the_newest() -> None:
    """A reader slower than the source loses frames, not time; the losses count."""
    pacer: Pacer[Picture] = Pacer()
    now, ages, taken = 10.0, [], 0
    sent = 0
    while now < 20:
        while 10 + sent * STEP <= now:
            pacer.put(pictures(sent, 1), 10 + sent * STEP)
            sent += 1
        frame, _ = pacer.take(now)
        if frame is not None:
            taken += 1
            ages.append(now - 10 - frame.t_s)
        now += 0.1
    assert max(ages) <= STEP + SLACK_S + 1e-6
    assert pacer.drops + taken + len(pacer) == sent


def test_old_frames_are_refused() -> None:
    """What is not newer than what was put before never leaves; order is monotone."""
    pacer: Pacer[Picture] = Pacer()
    assert pacer.put(pictures(5, 1), 10.0) == 1
    assert pacer.put(pictures(4, 3), 10.0) == 1
    assert pacer.put(pictures(5, 2), 10.0) == 0
    assert [t for _, t in play(pacer, 10.0, 11.0)] == [5 * STEP, 6 * STEP]


def test_flush_forgets_the_frames_but_not_the_order() -> None:
    """After a flush the next frame leaves at once, and an older one still does not."""
    pacer: Pacer[Picture] = Pacer()
    pacer.put(pictures(0, 8), 10.0)
    assert pacer.flush() == 8
    assert pacer.put(pictures(3, 1), 10.01) == 0
    assert pacer.put(pictures(9, 1), 10.01) == 1
    assert pacer.take(10.01)[0] == Picture(9 * STEP)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.floats(0, 0.7)), min_size=1, max_size=40),
    st.floats(0.001, 0.2),
)
def test_order_and_bounds_hold_whatever_comes(batches: list[tuple[int, float]], period: float) -> None:
    """Any batches at any times to any reader: t_s rises, every frame leaves, waits or counts, and few wait."""
    pacer: Pacer[Picture] = Pacer()
    now, next_read, index, taken = 10.0, 10.0, 0, []
    for count, gap in batches:
        now += gap
        while next_read < now:
            frame, wait_s = pacer.take(next_read)
            assert wait_s >= 0
            if frame is not None:
                taken.append(frame.t_s)
            next_read += period
        pacer.put(pictures(index, count), now)
        index += count
        assert len(pacer) <= max(4, 18)
    assert taken == sorted(set(taken))
    assert len(taken) + len(pacer) + pacer.drops == index
