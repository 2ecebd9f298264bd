"""Prometheus metrics: one registry for each server, so that tests and several apps do not share numbers.

Counters and histograms are fed as things happen; gauges of live sessions (stage times, engine states) at scrape.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.live.stream import LiveSnapshot

# 120 ms glass to glass is the promise; the server's share should be under 50.
LATENCY_BUCKETS_S = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
STATES = ("warming", "ok", "behind", "failed", "paused")


class Metrics:
    """The server's metrics. Any thread may change them."""

    def __init__(self, snapshots: Callable[[], Iterable[LiveSnapshot]] = tuple) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"relight_{name}", text, labels, registry=self.registry)

        self.sessions = Gauge("relight_sessions", "Connections being relit now.", registry=self.registry)
        self.sockets = Gauge("relight_sockets", "WebSockets open now.", registry=self.registry)
        self.viewers = Gauge("relight_viewers", "Viewers (WHEP) connected now.", registry=self.registry)
        self.connections = counter("connections", "Connections relit since the start.")
        self.refused = counter("refused", "Participants turned away, by code.", ("code",))
        self.frames_in = counter("frames_in", "Pictures received.")
        self.frames_out = counter(
            "frames_out", "Pictures handed to an encoder, by whether they were relit.", ("relit",)
        )
        self.drops = counter("frames_dropped", "Pictures dropped because newer ones came.")
        self.messages = counter("messages", "Control messages, by type.", ("type",))
        self.errors = counter("errors", "Errors sent to participants, by code.", ("code",))
        self.latency = Histogram(
            "relight_latency_seconds",
            "Arrival at the server to hand-over to the encoder.",
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.registry.register(_Live(snapshots))

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Live(Collector):
    """Collects gauges of the sessions that live at the moment of the scrape."""

    def __init__(self, snapshots: Callable[[], Iterable[LiveSnapshot]]) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterable[Metric]:
        snapshots = list(self._snapshots())
        stages: dict[tuple[str, str], float] = {}
        states: dict[tuple[str, str], int] = {}
        shown: dict[str, int] = {}
        for snapshot in snapshots:
            for stage, times in snapshot.stages.items():
                for quantile in QUANTILES:
                    key = (stage, quantile)
                    stages[key] = max(stages.get(key, 0.0), times[f"{quantile}_ms"] / 1e3)
            showing = snapshot.engine.get("showing", "")
            shown[showing] = shown.get(showing, 0) + 1
            name = snapshot.engine.get("name", "")
            for state in STATES:
                states[name, state] = states.get((name, state), 0) + (snapshot.engine.get("state") == state)
        family = GaugeMetricFamily(
            "relight_stage_seconds",
            "Stage time over the last frames, of the slowest session.",
            labels=("stage", "quantile"),
        )
        for (stage, quantile), seconds in sorted(stages.items()):
            family.add_metric((stage, QUANTILES[quantile]), seconds)
        yield family
        family = GaugeMetricFamily(
            "relight_engine_sessions", "Sessions by engine and its state.", labels=("engine", "state")
        )
        for (name, state), count in sorted(states.items()):
            family.add_metric((name, state), count)
        yield family
        family = GaugeMetricFamily(
            "relight_showing_sessions",
            "Sessions by what they are shown: an engine's name, camera or portrait.",
            labels=("showing",),
        )
        for showing, count in sorted(shown.items()):
            family.add_metric((showing,), count)
        yield family
