"""bench/scale.py: the places a fleet needs, as the tables of Erlang B have them, and what it prints and refuses."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "bench" / "scale.py"


@pytest.mark.parametrize(("load", "places"), [(0.1526, 2), (4.461, 10), (84.06, 100)])
def test_places_are_those_of_the_published_tables(load: float, places: int) -> None:
    """Tables of Erlang B at 1 % blocking: 2 lines carry 0.1526 erlangs, 10 carry 4.461, 100 carry 84.06."""
    places_for = runpy.run_path(str(SCRIPT))["places_for"]
    assert places_for(load * 0.999) == places
    assert places_for(load * 1.001) == places + 1


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The script, run as a user runs it."""
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60)


def test_the_first_limit_is_the_smallest() -> None:
    """Plenty of cores: the network port is met first, at 70 % of 100 Mbit/s over 2 Mbit/s each."""
    done = run("--cores", "1000", "--port-mbit", "100", "--up-mbit", "2", "--down-mbit", "1")
    assert done.returncode == 0, done.stderr
    first = next(line for line in done.stdout.splitlines() if "first limit" in line)
    assert first.split()[:3] == ["network", "port", "35"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cpu-ms", "0"], "--cpu-ms is 0.0; give a number above 0"),
        (["--relayed", "2"], "--relayed is 2.0; give a share from 0 to 1"),
        (["--cores", "0.1"], "one machine carries nobody: its CPU is too small"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(arguments: list[str], said: str) -> None:
    """A clear word and exit status 2; no traceback."""
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
