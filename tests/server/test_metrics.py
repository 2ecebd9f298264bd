"""server.metrics: Prometheus text that a parser reads, with numbers that move."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from engine.live.stream import LiveSnapshot
from server.metrics import Metrics
from tests.server.client import Participant, running


def samples(text: str) -> dict[tuple, float]:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_session_shows_in_the_metrics() -> None:
    """Frames, latency, sessions, messages and errors are counted; the session leaves the gauge when it ends."""
    async with running() as server, httpx.AsyncClient(trust_env=False) as client:
        async with Participant(server.ws) as tab:
            await tab.offer()
            await tab.pictures(15)
            await tab.ask(type="set_light", preset="nope")
            await tab.wait(type="stats")
            now = samples((await client.get(server.http + "/metrics")).text)
            assert now["relight_sessions",] == 1
            assert now["relight_sockets",] == 1
            assert now["relight_frames_in_total",] > 0
            assert now["relight_latency_seconds_count",] > 10
            assert now["relight_messages_total", ("type", "offer")] == 1
            assert now["relight_errors_total", ("code", "bad_light")] == 1
            assert now["relight_engine_sessions", ("engine", "passthrough"), ("state", "ok")] == 1
            assert ("relight_stage_seconds", ("quantile", "0.95"), ("stage", "render")) in now
        await tab.until(lambda: not server.server.sessions)
        later = samples((await client.get(server.http + "/metrics")).text)
        assert later["relight_sessions",] == 0
        assert later["relight_sockets",] == 0


def test_stage_times_are_those_of_the_slowest_session() -> None:
    """Two sessions, one number a stage and quantile, in seconds."""
    times = {"p50_ms": 2.0, "p95_ms": 3.0, "p99_ms": 4.0}
    slow = {"p50_ms": 20.0, "p95_ms": 30.0, "p99_ms": 40.0}
    snapshots = [
        LiveSnapshot(stages={"render": t}, engine={"name": "ratio", "state": "ok", "message": ""})
        for t in (times, slow)
    ]
    now = samples(Metrics(lambda: snapshots).text().decode())
    assert now["relight_stage_seconds", ("quantile", "0.5"), ("stage", "render")] == 0.02
    assert now["relight_engine_sessions", ("engine", "ratio"), ("state", "ok")] == 2
    assert now["relight_engine_sessions", ("engine", "ratio"), ("state", "failed")] == 0


def test_two_servers_in_one_process_do_not_share_numbers() -> None:
    """Every server has a registry of its own."""
    first, second = Metrics(), Metrics()
    first.frames_in.inc(5)
    assert samples(second.text().decode())["relight_frames_in_total",] == 0
