"""What is compiled before the first picture is all that a call needs, and half of it comes from a process beside."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine import precompile

ROOT = Path(__file__).resolve().parent.parent.parent

# Prints which kernels a stream wants compiled after its surface, after `compile_pixels` if it is told so.
PIXELS = """
import json, sys
from itertools import islice
from engine import make_engine
from engine.bench.sample_clip import sample_frames
from engine.frames import Frame
from engine.protocols import StreamConfig
from engine.ratio.precompile import compile_pixels
from engine.synthetic_face import WARMUP_LIGHT
from tests.engine.kernels import gained, signatures

if sys.argv[1:] == ["compiled"]:
    compile_pixels()
stream = make_engine("ratio").open(StreamConfig(lighting=WARMUP_LIGHT))
works = [stream.prepare(Frame(i, i / 30, rgb)) for i, rgb in enumerate(islice(sample_frames((240, 320)), 3))]
stream._expect(1)
stream._surface_of(0, works[0].frames[0].rgb, works[0].payload)
before = signatures()
for work in works:
    stream.render(work)
print(json.dumps(gained(before)))
"""

# Prints which kernels an engine wants compiled during a call, after its warm-up.
CALL = """
import json, sys
from itertools import islice
import numpy as np
from engine import make_engine
from engine.bench.sample_clip import load_portrait, sample_frames
from engine.frames import Frame
from engine.protocols import Avatar, StreamConfig
from lcvd.lighting.presets import preset
from tests.engine.kernels import gained, signatures

engine = make_engine(sys.argv[1])
engine.warmup()
before = signatures()
noise = np.random.default_rng(0)
for size in ((360, 640), (426, 240)):
    stream = engine.open(StreamConfig(lighting=preset("rim").lighting, avatar=Avatar(load_portrait())))
    pictures = list(islice(sample_frames(size), 3))
    noisy = [np.clip(each + noise.normal(0, 8, each.shape), 0, 255).astype(np.uint8) for each in pictures]
    nobody = [np.full((*size, 3), 120, np.uint8)] * 3
    for name in ("split-left", "soft-front", "neon"):
        stream.set_lighting(preset(name).lighting)
        for index, rgb in enumerate((*pictures, *noisy, *nobody)):
            stream.push(Frame(index, index / 10, rgb))
    stream.close()
print(json.dumps(gained(before)))
"""


def told(program: str, *arguments: str) -> list[str]:
    """Returns what a program of its own process prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_pixels_find_everything_compiled() -> None:
    """What runs beside the first warm-up compiles for the very types that a stream has."""
    assert told(PIXELS, "compiled") == []
    assert "engine.relighting.apply._apply" in told(PIXELS)


@pytest.mark.parametrize("engine", ["ratio", "avatar"])
def test_no_kernel_is_compiled_during_a_call(engine: str) -> None:
    """Compiling takes seconds, in which a participant's picture would stand."""
    assert told(CALL, engine) == []


def test_a_program_that_fails_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precompile, "_begun", {})
    assert not precompile.wait_for("engine.no_such_module")  # was not begun
    precompile.begin("engine.no_such_module")
    assert precompile.is_begun("engine.no_such_module")
    assert not precompile.wait_for("engine.no_such_module")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    precompile.begin("engine.frames")
    assert not precompile.is_begun("engine.frames")


def test_a_slow_program_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(precompile, "_begun", {"slow": slow})
    assert not precompile.wait_for("slow", 0.01)
    assert slow.poll() is None
    slow.kill()
    slow.wait()


def test_a_program_ends_with_the_one_that_began_it() -> None:
    """Also where that one is killed, which runs nothing at its exit."""
    child = (
        "import time; from engine.precompile import end_with_parent; end_with_parent();"
        "print(1, flush=True); time.sleep(60)"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE)\n"
        "time.sleep(60)"
    )
    began = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT, stdout=subprocess.PIPE)
    assert began.stdout is not None
    assert began.stdout.readline() == b"1\n"
    began.kill()
    began.wait()
    assert began.stdout.read() == b""  # the child had it, too: it has ended
    began.stdout.close()


def test_a_program_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precompile, "_begun", {})
    precompile.begin("engine.frames")
    process = precompile._begun["engine.frames"]
    precompile.begin("engine.frames")
    assert precompile._begun["engine.frames"] is process
    assert precompile.wait_for("engine.frames")
