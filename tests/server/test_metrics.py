"""server.metrics: Prometheus text that a parser reads, with numbers that move."""

import re

import httpx
from prometheus_client.parser import text_string_to_metric_families

from engine.live.stream import LiveSnapshot
from server.metrics import REFUSALS, STATES, Metrics
from tests.server.client import Participant, running
from tests.server.players import viewer

# Every label, and what it may say in these tests.
BOUNDED = {
    "code": {*REFUSALS, "internal"},
    "codec": {"vp8", "h264"},
    "engine": {"passthrough"},
    "queue": {"mailbox", "device", "pacer", "messages"},
    "reason": {"lost", "never_connected"},
    "relit": {"yes", "no"},
    "showing": {"passthrough", "camera", "portrait"},
    "stage": {"prepare", "render", "view", "wait"},
    "state": set(STATES),
    "type": {"offer"},
}


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
            assert now["relight_latency_seconds_count", ("showing", "passthrough")] > 10
            assert now["relight_frames_out_total", ("relit", "yes"), ("showing", "passthrough")] > 10
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


async def test_codecs_viewers_and_refusals_are_counted_and_no_label_names_anybody() -> None:
    """Encoders of participant and viewers by codec, decoders, WHEP, who is turned away; label values are ours alone."""
    async with running(max_viewers=1, max_sessions=1, max_waiting=0) as server, Participant(server.ws) as tab:
        welcome = await tab.wait(type="welcome")
        await tab.offer(codec="VP8")
        url = f"{server.http}/whep/{welcome['view']}"
        async with viewer(url, "H264") as first, viewer(url) as second:
            await first.connect()
            await first.more_pictures(3)
            assert (await second.connect()).status_code == 503
            async with Participant(server.ws) as late:
                assert (await late.offer())["code"] == "busy"
            await tab.pictures(5)
            text = (await first.http.get(server.http + "/metrics")).text
    now = samples(text)
    assert now["relight_encode_seconds_count", ("codec", "vp8")] > 3
    assert now["relight_encode_seconds_count", ("codec", "h264")] > 2
    assert now["relight_decode_seconds_count", ("codec", "vp8")] > 3
    assert now["relight_encode_seconds_sum", ("codec", "vp8")] > 0
    assert (now["relight_viewers",], now["relight_viewings_total",]) == (1, 1)
    assert now["relight_refused_total", ("code", "busy")] == 2
    assert (now["relight_ready",], now["relight_max_sessions",]) == (1, 1)
    assert ("relight_queue_items", ("queue", "pacer")) in now
    labels = {name: {dict(key[1:])[name] for key in now if name in dict(key[1:])} for key in now for name, _ in key[1:]}
    assert set(labels) <= {*BOUNDED, "le", "quantile", "version", "part"}  # `part`: stages of every engine that ran
    assert all(values <= BOUNDED[name] for name, values in labels.items() if name in BOUNDED)


async def test_a_connection_that_never_came_about_is_told_from_one_that_was_lost() -> None:
    """An offer whose maker is not there ends as never_connected."""
    async with running(media_timeout_s=1) as server, Participant(server.ws) as tab:
        await tab.offer(rewrite=lambda sdp: re.sub(r"a=candidate.*\r\n", "", sdp).replace("a=ice-pwd:", "a=ice-pwd:X"))
        await tab.wait(type="notice", code="connection_ended")
        now = samples(server.server.metrics.text().decode())
        assert now["relight_connections_ended_total", ("reason", "never_connected")] == 1
