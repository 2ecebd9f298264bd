"""The bench through a real server, a real WebSocket and real WebRTC, with the null engine."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.bench.throughput import pictures
from engine.errors import EngineError
from server.cli.bench import draw_plot, parse_size
from server.cli.main import app
from server.rtc.bench.loopback import MINUTE_S, _growth, bench_loopback, serving


def test_a_few_seconds_through_webrtc(tmp_path: object) -> None:
    """Most numbers drawn come back, delays are positive, traffic and CPU are counted, and the plot is drawn."""
    result, series = bench_loopback("passthrough", "original", pictures(None, (240, 320)), 3.0, 1)
    assert result.mode == "loopback"
    assert result.frames + result.drops >= 30
    assert result.frames > 10
    assert result.unreadable == 0
    assert result.glass_to_glass_ms is not None
    assert 0 < result.glass_to_glass_ms["p50"] <= result.glass_to_glass_ms["p95"] <= result.glass_to_glass_ms["p99"]
    assert all(delay > 0 for _, delay in series)
    assert len(series) == result.frames
    assert (result.bytes_sent or 0) > 10_000
    assert result.cpu_ms_per_frame > 0
    assert result.cpu_parts_ms is not None
    assert {"decode", "convert", "encode", "transport", "rest"} <= set(result.cpu_parts_ms)
    assert sum(result.cpu_parts_ms.values()) == pytest.approx(result.cpu_ms_per_frame, abs=0.2)
    assert result.cpu_floor_ms is not None
    assert all(ms > 0 for ms in result.cpu_floor_ms.values())
    assert result.rss_mb > 20
    assert {"prepare", "render"} <= set(result.stages)
    json.dumps(result.as_json())
    path = tmp_path / "plot.png"  # type: ignore[operator]
    draw_plot(result, series, path)
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_a_server_that_does_not_start_is_reported() -> None:
    """The server's own words come back."""
    with pytest.raises(EngineError, match="did not start"), serving("passthrough", sessions=-1):
        pass


def test_growth_leaves_the_first_minute_out() -> None:
    """Memory taken while warming up is not growth."""
    memory = [(float(t), 100.0 + min(t, MINUTE_S)) for t in range(180)]
    assert _growth(memory) == 0.0
    memory = [(float(t), 100.0 + 0.1 * max(0.0, t - MINUTE_S)) for t in range(180)]
    assert _growth(memory) == pytest.approx(11.5, abs=0.5)


def test_bench_prints_json_last_and_exits_by_its_limit() -> None:
    """The last line of stdout is the document; a limit that nothing can keep exits 1, one that all keep 0."""
    runner = CliRunner()
    short = ["bench", "--engine", "passthrough", "--seconds", "1", "--size", "160x120"]
    for limit, status in (("0.0000001", 1), ("10000", 0)):
        result = runner.invoke(app, [*short, "--max-p95-ms", limit])
        assert result.exit_code == status, result.output
        document = json.loads(result.stdout.strip().splitlines()[-1])
        assert (document["engine"], document["width"], document["height"]) == ("passthrough", 160, 120)
    only = runner.invoke(app, [*short, "--json-only"])
    assert len(only.stdout.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--size", "640"],
        ["--size", "1x1"],
        ["--engine", "magic"],
        ["--loopback", "--engine", "magic"],
        ["--codec", "av9"],
    ],
)
def test_bad_options_name_what_is_legal(arguments: list[str]) -> None:
    """A wrong option is refused before anything is measured."""
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code == 2


def test_size_reads_width_first() -> None:
    """640x480 is 480 rows."""
    assert parse_size("640x480") == (480, 640)
    assert parse_size("") is None
    assert np.zeros(parse_size("64x128")).shape == (128, 64)  # type: ignore[arg-type]
