"""engine.bench.lcvd on the tiny random model: what is measured is what was run."""

import math

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.backends.make_backend import make_backend  # noqa: E402
from engine.bench.lcvd import (  # noqa: E402
    GridPoint,
    chip_rate,
    floor_table,
    flops_of,
    grid_row,
    make_engine_of,
    run_live,
    time_backend,
    time_windows,
)
from lcvd.random_model import random_lcvd  # noqa: E402

SIZE = 64


@pytest.fixture(scope="module")
def backend():
    return make_backend("eager", random_lcvd("tiny"))


def test_stages_are_timed_and_compared_with_the_chip(backend) -> None:
    """Every stage takes time, both branches more than one, and the rate is operations over that time."""
    flops, named = flops_of("tiny", SIZE)
    times = time_backend(backend, backend.model, "fp32", SIZE, 0.1, flops)
    assert min(times.encode_ms, times.features_ms, *times.forward_ms, times.decode_ms) > 0
    assert times.tflops == pytest.approx(named["forward_2"] / times.forward_ms[1], rel=0.01, abs=6e-4)
    assert times.share == pytest.approx(times.tflops / 0.1, abs=0.01)


def test_a_grid_point_runs_the_stream_itself(backend, monkeypatch) -> None:
    """Its steps, branches and stride reach the denoiser and the decoder."""
    asked, decoded = [], []
    denoise, decode = backend.denoise, backend.decode
    monkeypatch.setattr(backend, "denoise", lambda requests: asked.append(requests[0].branches) or denoise(requests))
    monkeypatch.setattr(backend, "decode", lambda latents: decoded.append(len(latents)) or decode(latents))
    engine = make_engine_of(backend, SIZE)
    engine.warmup()
    asked.clear(), decoded.clear()
    assert time_windows(engine, GridPoint(2, 2, 4), SIZE) > 0
    assert len(asked) == 2 * len(decoded)
    assert set(asked) == {2}
    assert set(decoded) == {4}


def test_a_row_sets_prediction_beside_measurement() -> None:
    """0.1 s for 10 frames at 25 fps: 100 fps, 0.46 s; a device that makes 8 frames a second is behind."""
    row = grid_row("eager", "fp32", GridPoint(1, 1, 10), 0.1, 25.0, (0.5, 0.6, 25.0))
    assert (row.fps, row.windows_per_s, row.output_fps, row.keeps_up) == (100.0, 10.0, 25.0, True)
    assert (row.predicted_delay_s, row.measured_delay_s) == (0.46, 0.5)
    assert not grid_row("eager", "fp32", GridPoint(1, 1, 4), 0.5, 25.0).keeps_up


def test_a_live_run_gives_the_cameras_frames_back(backend) -> None:
    """At a rate the device keeps up with, frames leave and none before its window could be full."""
    engine = make_engine_of(backend, SIZE)
    p50, p95, fps = run_live(engine, GridPoint(1, 1, 4), SIZE, 4.0, 6.0)
    assert fps > 1
    assert 3 / 4.0 < p50 <= p95


def test_the_floor_is_operations_over_rate() -> None:
    """H200 at its full rate: 83 ms for one step and 237 for four, as the design computes them."""
    flops, _ = flops_of("full", 512)
    line = floor_table(flops)[0]
    assert line["chip"] == "H200"
    assert line["1_steps_ms"] == pytest.approx(83.3, abs=0.5)
    assert line["4_steps_ms"] == pytest.approx(237.5, abs=1)
    assert line["4_steps_fps"] == pytest.approx(42.1, abs=0.3)


def test_the_chips_rate_is_a_rate() -> None:
    """Positive and finite."""
    rate = chip_rate(torch.device("cpu"), torch.float32)
    assert 0 < rate < math.inf
