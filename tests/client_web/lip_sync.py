"""Measures by how much the sound of a stream is late, by the flashes and beeps of flash_and_beep.js."""

from bisect import bisect_left
from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR_MS = 330.0  # events are 700 ms apart: what is nearer belongs together
SAME_MS = 50.0  # of two readers in one page, the one may be as late
SPAN = 100  # chunks of sound, of 10 ms, to each side: their median arrival is when a sample is heard
CLOCKS_MS = 100.0  # so far apart, two lags of pictures are of two clocks
FEWEST = 8
AROUND_MS = 60.0  # a beep begins and ends with a step of its own, which Opus spreads over a packet

Heard = dict[str, Any]


def offsets(source: Heard, output: Heard) -> list[tuple[float, float]]:
    """Returns (page time, lateness of the beep) of the flashes of `output`, ms; positive: the sound is late.

    A white picture of the output is that of the source with the same number; the beep with that number should be as
    old. So neither the offsets that the source itself has between flash and beep count, nor pictures of a flash that
    were lost or not shown. A beep belongs to one flash, the one it fits best; a flash whose beep was left out by a
    change of delay has none, and is not returned.
    """
    beeps_in, beeps_out = _numbered(source), _numbered(output)
    drawn: dict[tuple[int, int], list[float]] = defaultdict(list)
    for time, number, index in source["white"]:
        drawn[number, index].append(time)
    pairs = []
    for time, number, index in flashes(output):
        was = [each for each in drawn[number, index] if each < time + SAME_MS]
        beep = _nearest(beeps_in[number], was[-1]) if was else None
        if beep is None:
            continue
        due = beep + time - was[-1]
        pairs += [(abs(heard - due), time, heard, due) for heard in beeps_out[number] if abs(heard - due) < NEAR_MS]
    measured, taken = {}, set()
    for _, time, heard, due in sorted(pairs):
        if time not in measured and heard not in taken:
            measured[time] = heard - due
            taken.add(heard)
    return sorted(measured.items())


def flashes(heard: Heard) -> list[tuple[float, int, int]]:
    """Returns (page time, number, which picture of the flash) of the first white picture that was seen of each."""
    white = [(time, number, index) for time, number, index in heard["white"]]
    return [each for before, each in pairwise([(-np.inf, -1, 0), *white]) if _is_new(before, each)]


def _is_new(before: tuple[float, int, int], each: tuple[float, int, int]) -> bool:
    """Tells whether a white picture begins a flash; others follow of the same one, as the camera after a relit one."""
    return each[1] != before[1] or each[0] - before[0] > NEAR_MS or each[2] < before[2]


def _numbered(heard: Heard) -> dict[int, list[float]]:
    """Returns the times of the beeps by their numbers."""
    found = defaultdict(list)
    for time, number in zip(heard["beeps"], heard["numbers"], strict=True):
        found[number].append(time)
    return found


def steady(heard: Heard) -> Heard:
    """Returns what was heard with everything at the page time at which a steady player shows and plays it, ms.

    A reader in a busy page gets chunks and pictures in bursts; whoever plays or sends them on goes by samples and by
    the pictures' own times. So each sample's time is that of the chunks around it: the median of one second to each
    side, which follows drift and holes; and each flash's is its timestamp, later by as much as nearly all are read.
    """
    if not heard["chunks"]:
        return {**heard, "beeps": [], "numbers": [], "holes": [], "steps": []}
    arrived_ms, ends = np.asarray(heard["chunks"], float).T
    starts_ms = arrived_ms - ends * 1000 / heard["rate"]
    smooth_ms = np.array([np.median(starts_ms[max(0, i - SPAN) : i + SPAN + 1]) for i in range(len(starts_ms))])

    def at_ms(places: list[float]) -> NDArray[np.float64]:
        which = np.minimum(np.searchsorted(ends, places, "right"), len(ends) - 1)
        return np.asarray(smooth_ms[which] + np.asarray(places, float) * 1000 / heard["rate"], float)

    def moved(marks: list[list[float]]) -> list[tuple[float, float]]:
        return [(float(time), size) for time, (_, size) in zip(at_ms([m[0] for m in marks]), marks, strict=True)]

    beeps = [float(time) for time in at_ms(heard["places"])]
    steps = [(time, size) for time, size in moved(heard["steps"]) if not _is_of_beep(beeps, time)]
    holes = moved(heard["holes"])
    time_of = _by_timestamp(heard)
    pictures = {name: [(time_of[read], *told) for read, *told in heard[name]] for name in ("flashes", "white")}
    return {**heard, "beeps": beeps, "holes": holes, "steps": steps, **pictures}


def _by_timestamp(heard: Heard) -> dict[float, float]:
    """Returns the pictures' own times by the times at which they were read.

    A track of which now the camera's and now relit pictures come has two clocks: each has a lag of its own.
    """
    if not heard["stamps"]:
        return {}
    reads, stamps = np.asarray(heard["stamps"], float).T
    lags = reads - stamps
    order = np.sort(lags)
    starts = [0, *(np.flatnonzero(np.diff(order) > CLOCKS_MS) + 1), len(order)]
    clocks = [order[begin:end] for begin, end in pairwise(starts) if end - begin >= FEWEST]  # fewer were read late
    bases = np.array([np.percentile(clock, 10) for clock in clocks] or [order[0]])
    base_of = bases[np.maximum(0, np.searchsorted(bases, lags + 1, "right") - 1)]
    return dict(zip(reads.tolist(), (stamps + base_of).tolist(), strict=True))


def clicks(heard: Heard) -> list[tuple[float, float]]:
    """Returns (page time, size) of the steps in a `steady` sound that no beep explains; those within 5 ms are one."""
    found: list[tuple[float, float]] = []
    for time, size in heard["steps"]:
        if found and time - found[-1][0] < 5:
            found[-1] = (found[-1][0], max(size, found[-1][1]))
        else:
            found.append((time, size))
    return found


def own_offsets(source: Heard) -> list[float]:
    """Returns by how much each beep of the source itself is later than its flash, ms."""
    beeps = sorted(source["beeps"])
    near = [(flash, _nearest(beeps, flash)) for flash, _ in source["flashes"]]
    return [beep - flash for flash, beep in near if beep is not None]


def _is_of_beep(beeps: list[float], time: float) -> bool:
    """Tells whether a beep, of 30 ms, begins or ends near `time`."""
    beep = beeps[min(max(0, bisect_left(beeps, time) - 1), len(beeps) - 1)] if beeps else -np.inf
    following = beeps[bisect_left(beeps, time)] if bisect_left(beeps, time) < len(beeps) else np.inf
    return bool(time - beep < 30 + AROUND_MS or following - time < AROUND_MS)


def _nearest(times: list[float], wanted: float) -> float | None:
    place = bisect_left(times, wanted)
    best = min(times[max(0, place - 1) : place + 1], key=lambda each: abs(each - wanted), default=None)
    return best if best is not None and abs(best - wanted) < NEAR_MS else None
