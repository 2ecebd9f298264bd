"""Measures by how much the sound of a stream is late, by the flashes and beeps of flash_and_beep.js."""

from bisect import bisect_left

NEAR_MS = 330.0  # events are 700 ms apart: what is nearer belongs together

Heard = dict[str, list]


def offsets(source: Heard, output: Heard) -> list[tuple[float, float]]:
    """Returns (page time, lateness of the beep) of every flash of `output`, ms; positive: the sound is late.

    A flash of the output is that of the source which is as old as the picture says it is; its beep should be that much
    older too. So the offsets that the source itself has between flash and beep do not count.
    """
    measured = []
    beeps_in, flashes_in = sorted(source["beeps"]), [time for time, _ in source["flashes"]]
    for time, age in output["flashes"]:
        flash = _nearest(flashes_in, time - age)
        beep = None if flash is None else _nearest(beeps_in, flash)
        if flash is None or beep is None:
            continue
        due = beep + time - flash
        if (heard := _nearest(output["beeps"], due)) is not None:
            measured.append((time, heard - due))
    return measured


def _nearest(times: list[float], wanted: float) -> float | None:
    place = bisect_left(times, wanted)
    best = min(times[max(0, place - 1) : place + 1], key=lambda each: abs(each - wanted), default=None)
    return best if best is not None and abs(best - wanted) < NEAR_MS else None
