"""The judge of lips against voice: what it makes of events that are known (bench/lip_sync.py, tests/client_web)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.client_web.lip_sync import clicks, flashes, offsets, own_offsets, steady

ROOT = Path(__file__).resolve().parent.parent
RATE = 48_000


def heard(start_ms: float, beeps_ms: list[float], jitter_ms: float = 0.0) -> dict:
    """Returns what an instrument notes of 10 s of sound whose first sample is heard at `start_ms`."""
    rng = np.random.default_rng(1)
    ends = np.arange(1, 1001) * 480
    late = rng.exponential(jitter_ms, len(ends)) * (rng.random(len(ends)) < 0.3) if jitter_ms else np.zeros(len(ends))
    places = [round((beep - start_ms) * RATE / 1000) for beep in beeps_ms]
    return {
        "rate": RATE,
        "chunks": [[float(start_ms + end * 1000 / RATE + lag), int(end)] for end, lag in zip(ends, late, strict=True)],
        "places": places,
        "holes": [[places[0] + RATE // 2, 25.0]],
        "steps": [[places[0] + 10, 0.2], [places[0] + RATE // 4, 0.1], [places[0] + RATE // 4 + 1, 0.15]],
        "flashes": [[2005.0, 0.0], [5200.0, 50.0]],
        "white": [[2005.0, 7, 0], [5200.0, 8, 1]],
        "numbers": [6, 7, 8],
        # The first 30 are of another clock; the 50th is read 0.2 s late.
        "stamps": [
            [k * 100.0 + {20: 5.0, 50: 200.0}.get(k, 3.0), k * 100.0 - (350.0 if k < 30 else 7.0)] for k in range(100)
        ],
        "beeps": [],
    }


def test_sound_is_dated_by_its_samples_and_pictures_by_theirs() -> None:
    """Chunks that come late now and then move nothing; a step that a beep explains is no click."""
    sound = steady(heard(100.0, [1000.0, 2000.0, 9000.0], jitter_ms=40.0))
    assert sound["beeps"] == pytest.approx([1000.0, 2000.0, 9000.0], abs=0.05)  # a sample is 0.02 ms
    assert [time for time, _ in sound["holes"]] == pytest.approx([1500.0], abs=0.05)
    assert sound["flashes"] == [(2003.0, 0.0), (5003.0, 50.0)]
    assert sound["white"] == [(2003.0, 7, 0), (5003.0, 8, 1)]
    [(time, size)] = clicks(sound)
    assert time == pytest.approx(1250.0, abs=0.05)
    assert size == 0.15


def test_a_beep_belongs_to_the_flash_of_its_number() -> None:
    """An offset is the output's beyond the source's own; a flash without its beep does not take its neighbour's."""
    source = {
        "flashes": [(0.0, 0), (700.0, 0), (1400.0, 0)],
        "white": [(0.0, 0, 0), (67.0, 0, 1), (700.0, 1, 0), (767.0, 1, 1), (1400.0, 2, 0), (1467.0, 2, 1)],
        "beeps": [-8.0, 697.0, 1400.0],
        "numbers": [0, 1, 2],
    }
    output = {
        # Of the first flash the first picture was lost; the camera shows the second one's end once more.
        "white": [(567.0, 0, 1), (750.0, 1, 0), (767.0, 1, 1), (1450.0, 2, 0)],
        "beeps": [490.0, 900.0, 1462.0],
        "numbers": [0, -1, 2],  # the second flash's was left out by the change from 500 to 50 ms; -1 is no beep
    }
    assert own_offsets(source) == [-8.0, -3.0, 0.0]
    assert flashes(output) == [(567.0, 0, 1), (750.0, 1, 0), (1450.0, 2, 0)]
    assert offsets(source, output) == [(567.0, -2.0), (1450.0, 12.0)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--ways", "page,none"], "'none'"),
        (["--delays", "0.5,5"], "5.0"),
        (["--delays", "soon"], "'soon'"),
        (["--each", "nan"], "nan"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], named: str) -> None:
    """A wrong value is told with what would do, before anything is started."""
    command = [sys.executable, "-m", "bench.lip_sync", *arguments]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert named in refused.stderr
    assert "Traceback" not in refused.stderr
