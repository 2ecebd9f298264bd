"""Measures by how much the sound of a stream is late, by the flashes and beeps of flash_and_beep.js."""

from bisect import bisect_left
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR_MS = 330.0  # events are 700 ms apart: what is nearer belongs together
SPAN = 100  # chunks of sound, of 10 ms, to each side: their median arrival is when a sample is heard
CLOCKS_MS = 100.0  # so far apart, two lags of pictures are of two clocks
FEWEST = 8
AROUND_MS = 60.0  # a beep begins and ends with a step of its own, which Opus spreads over a packet

Heard = dict[str, Any]


def offsets(source: Heard, output: Heard) -> list[tuple[float, float]]:
    """Returns (page time, lateness of the beep) of the flashes of `output`, ms; positive: the sound is late.

    A flash of the output is that of the source which is as old as the picture says it is; its beep should be that much
    older too. So the offsets that the source itself has between flash and beep do not count. A beep belongs to one
    flash, the one it fits best; a flash whose beep was left out by a change of delay has none, and is not returned.
    """
    pairs = []
    beeps_in, flashes_in = sorted(source["beeps"]), [time for time, _ in source["flashes"]]
    beeps_out = sorted(output["beeps"])
    for time, age in output["flashes"]:
        flash = _nearest(flashes_in, time - age)
        beep = None if flash is None else _nearest(beeps_in, flash)
        if flash is None or beep is None:
            continue
        due = beep + time - flash
        near = beeps_out[bisect_left(beeps_out, due - NEAR_MS) : bisect_left(beeps_out, due + NEAR_MS)]
        pairs += [(abs(heard - due), time, heard, due) for heard in near]
    measured, taken = {}, set()
    for _, time, heard, due in sorted(pairs):
        if time not in measured and heard not in taken:
            measured[time] = heard - due
            taken.add(heard)
    return sorted(measured.items())


def steady(heard: Heard) -> Heard:
    """Returns what was heard with everything at the page time at which a steady player shows and plays it, ms.

    A reader in a busy page gets chunks and pictures in bursts; whoever plays or sends them on goes by samples and by
    the pictures' own times. So each sample's time is that of the chunks around it: the median of one second to each
    side, which follows drift and holes; and each flash's is its timestamp, later by as much as nearly all are read.
    """
    if not heard["chunks"]:
        return {**heard, "beeps": [], "holes": [], "steps": []}
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
    return {**heard, "beeps": beeps, "holes": holes, "steps": steps, "flashes": _by_timestamp(heard)}


def _by_timestamp(heard: Heard) -> list[tuple[float, float]]:
    """Returns the flashes at their pictures' own times.

    A track of which now the camera's and now relit pictures come has two clocks: each has a lag of its own.
    """
    if not heard["stamps"]:
        return []
    reads, stamps = np.asarray(heard["stamps"], float).T
    lags = reads - stamps
    order = np.sort(lags)
    starts = [0, *(np.flatnonzero(np.diff(order) > CLOCKS_MS) + 1), len(order)]
    clocks = [order[begin:end] for begin, end in pairwise(starts) if end - begin >= FEWEST]  # fewer were read late
    bases = np.array([np.percentile(clock, 10) for clock in clocks] or [order[0]])
    base_of = bases[np.maximum(0, np.searchsorted(bases, lags + 1, "right") - 1)]
    time_of = dict(zip(reads, stamps + base_of, strict=True))
    return [(float(time_of[read]), age) for read, age in heard["flashes"]]


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
