"""server.rtc.bench.viewer_load: the cost of viewers, measured through a real server."""

import json

import pytest

from engine.bench.throughput import pictures
from server.rtc.bench import viewer_load


def test_the_load_is_measured_with_each_viewer_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each number of viewers, each of whom sees pictures; the cost of one more follows from them."""
    monkeypatch.setattr(viewer_load, "WARM_S", 0.2)
    monkeypatch.setattr(viewer_load, "SETTLE_S", 0.2)
    result = viewer_load.bench_viewers("passthrough", "original", pictures(None, (120, 160)), 1.0, 2, "h264")
    assert [load.viewers for load in result.loads] == [0, 1, 2]
    assert all(load.cpu_cores > 0 and load.fps > 1 for load in result.loads)
    first, second = result.loads[1:]
    assert result.viewer_ms == pytest.approx(second.cpu_ms_a_picture - first.cpu_ms_a_picture)
    told = json.loads(json.dumps(result.as_json()))
    assert (told["mode"], told["width"], told["codec"]) == ("viewers", 160, "h264")
