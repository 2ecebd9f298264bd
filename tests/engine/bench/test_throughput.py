"""The bench of an engine alone: complete results, honest errors, loops that close."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.bench.throughput import PICTURES_BYTES, bench_engine, commit, pictures, there_and_back
from engine.errors import ClipError
from engine.frames import Frame
from tests.clips import make_clip
from tests.engine.fakes import DAY, FakeEngine, picture

FIELDS = {
    "engine",
    "width",
    "height",
    "fps",
    "drops",
    "stages",
    "glass_to_glass_ms",
    "cpu_ms_per_frame",
    "rss_mb",
    "commit",
}


@pytest.mark.parametrize(("window", "sessions"), [(1, 1), (4, 1), (1, 3)])
def test_a_result_is_complete_json(window: int, sessions: int) -> None:
    """Every promised field is there, counts agree, and it survives JSON."""
    engine = FakeEngine(window=window)
    result = bench_engine(engine, DAY, [picture(i) for i in range(5)], seconds=0.3, sessions=sessions)
    document = json.loads(json.dumps(result.as_json()))
    assert set(document) >= FIELDS
    assert (document["width"], document["height"], document["sessions"]) == (16, 12, sessions)
    assert document["glass_to_glass_ms"] is None
    assert {"prepare", "render"} <= set(document["stages"])
    assert document["stages"]["render"].keys() == {"p50_ms", "p95_ms", "p99_ms"}
    rounding = 0.005 / document["seconds"] + 0.005 / document["fps"]  # both are told to a hundredth
    assert document["fps"] * document["seconds"] * sessions == pytest.approx(document["frames"], rel=1.05 * rounding)
    assert document["frames"] > 0
    assert engine.opened == engine.closed_streams == sessions
    assert engine.closed


def test_an_engine_that_raises_is_reported() -> None:
    """A broken engine is an error, not a good time."""

    def broken(frame: Frame) -> None:
        if frame.index == 60:
            raise RuntimeError("out of photons")

    with pytest.raises(RuntimeError, match="photons"):
        bench_engine(FakeEngine(on_prepare=broken), DAY, [picture()], seconds=0.3)


def test_an_engine_that_cannot_start_is_reported() -> None:
    """So is one whose warm-up fails."""

    def broken() -> None:
        raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="weights"):
        bench_engine(FakeEngine(on_warmup=broken), DAY, [picture()], seconds=0.3)


def test_pictures_of_a_clip_fit_the_size(tmp_path: Path) -> None:
    """A clip is cut to the size asked for, or keeps its own."""
    path = tmp_path / "clip.mp4"
    make_clip(path, [i / 30 for i in range(6)], 64, 48)
    assert {p.shape for p in pictures(path, None)} == {(48, 64, 3)}
    assert {p.shape for p in pictures(path, (64, 64))} == {(64, 64, 3)}
    assert len(pictures(path, None)) == 10
    with pytest.raises(ClipError):
        pictures(tmp_path / "nothing.mp4", None)


def test_the_loop_has_no_jump_and_a_bound() -> None:
    """There and back repeats no end, and large pictures are few."""
    ends = [picture(i) for i in range(4)]
    assert [int(p[0, 0, 0]) for p in there_and_back(ends)] == [0, 1, 2, 3, 2, 1]
    large = pictures(None, (1080, 1920))
    assert len({id(p) for p in large}) * large[0].nbytes <= PICTURES_BYTES
    closed = pictures(None, (120, 160))
    steps = [np.abs(a.astype(int) - b).mean() for a, b in zip(closed, [*closed[1:], closed[0]], strict=True)]
    assert max(steps) < 3 * float(np.median(steps)) + 1


def test_commit_is_known_here() -> None:
    """The checkout names its commit."""
    assert commit() == "unknown" or len(commit().removesuffix("-dirty")) >= 7
