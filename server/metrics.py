"""Prometheus metrics: one registry for each server, so that tests and several apps do not share numbers.

Counters and histograms are fed as things happen; gauges of live sessions (stage times, engine states) at scrape. No
label has a value that somebody outside chooses, so their number is bounded: docs/operations/README.md lists them all.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.cpu_time import CPU
from engine.live.stream import LiveSnapshot
from server import VERSION

# 120 ms glass to glass is the promise; the server's share should be under 50.
LATENCY_BUCKETS_S = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
CODEC_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.033, 0.05, 0.1, 0.25)
QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
REFUSALS = ("busy", "not_ready", "unauthorized", "forbidden", "foreign_origin", "too_fast")
STATES = ("warming", "ok", "behind", "failed", "paused")


@dataclass(frozen=True, slots=True)
class Load:
    """The state of the server at the moment of a scrape."""

    ready: bool = False
    capacity: int = 0  # participants
    places: dict[str, int] = field(default_factory=dict)  # participants at 30 pictures a second, by their size
    frame_cpu_s: float = 0.0  # of one picture of 640x480
    level: int = 0  # of the step-down
    waiting: int = 0  # participants
    publishers: int = 0
    waiting_uploads: int = 0
    queues: dict[str, int] = field(default_factory=dict)  # items that wait in all sessions, by queue


class Metrics:
    """The server's metrics. Any thread may change them."""

    def __init__(
        self, snapshots: Callable[[], Iterable[LiveSnapshot]] = tuple, load: Callable[[], Load] = Load
    ) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"relight_{name}", text, labels, registry=self.registry)

        self.sessions = Gauge("relight_sessions", "Connections being relit now.", registry=self.registry)
        self.sockets = Gauge("relight_sockets", "WebSockets open now.", registry=self.registry)
        self.viewers = Gauge("relight_viewers", "Viewers (WHEP) connected now.", registry=self.registry)
        self.connections = counter("connections", "Connections relit since the start.")
        self.viewings = counter("viewings", "Viewers (WHEP) admitted since the start.")
        self.ended = counter(
            "connections_ended", "Connections that ended by themselves: lost, or never_connected.", ("reason",)
        )
        self.refused = counter("refused", "Participants, viewers and requests turned away, by code.", ("code",))
        self.frames_in = counter("frames_in", "Pictures received.")
        self.frames_out = counter(
            "frames_out",
            "Pictures handed to an encoder, by whether they were relit, and what they show: "
            "an engine's name, camera or portrait.",
            ("relit", "showing"),
        )
        self.drops = counter("frames_dropped", "Pictures dropped because newer ones came.")
        self.messages = counter("messages", "Control messages, by type.", ("type",))
        self.errors = counter("errors", "Errors sent to participants, by code.", ("code",))
        self.latency = Histogram(
            "relight_latency_seconds",
            "Arrival at the server to hand-over to the encoder, by what is shown.",
            ("showing",),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._coding = {
            direction: Histogram(
                f"relight_{direction}_seconds",
                f"Time to {direction} one picture, by codec.",
                ("codec",),
                buckets=CODEC_BUCKETS_S,
                registry=self.registry,
            )
            for direction in ("encode", "decode")
        }
        # An increase from nothing to 1 is none for Prometheus: what alerts ask about begins with 0.
        for code in REFUSALS:
            self.refused.labels(code)
        for reason in ("lost", "never_connected"):
            self.ended.labels(reason)
        self.errors.labels("internal")
        Gauge("relight_build_info", "1, with the version.", ("version",), registry=self.registry).labels(VERSION).set(1)
        self.registry.register(_Live(snapshots, load))
        self.registry.register(_CpuTimes())

    def observe_frame(self, showing: str, relit: bool, latency_s: float) -> None:
        """Counts one picture that leaves, and its time from arrival to the encoder."""
        self.frames_out.labels("yes" if relit else "no", showing).inc()
        self.latency.labels(showing).observe(latency_s)

    def observe_coding(self, direction: Literal["encode", "decode"], codec: str, seconds: float) -> None:
        """Takes the time of one picture in an encoder or decoder."""
        self._coding[direction].labels(codec).observe(seconds)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Live(Collector):
    """Collects gauges of the sessions that live at the moment of the scrape."""

    def __init__(self, snapshots: Callable[[], Iterable[LiveSnapshot]], load: Callable[[], Load]) -> None:
        self._snapshots = snapshots
        self._load = load

    def collect(self) -> Iterable[Metric]:
        yield from _load_metrics(self._load())
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


class _CpuTimes(Collector):
    """Collects the CPU seconds of the process by part of the work."""

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "relight_cpu_seconds",
            "CPU time by part of the work: decode, convert, encode, the engine's stages, transport (the event loop).",
            labels=("part",),
        )
        # /metrics is answered on the event loop's thread, which does nothing but transport and its Python.
        for part, seconds in sorted({**CPU.seconds(), "transport": time.thread_time()}.items()):
            family.add_metric((part,), seconds)
        yield family


def _load_metrics(load: Load) -> Iterable[Metric]:
    yield GaugeMetricFamily("relight_ready", "1 while the engine is warm and the server admits people.", load.ready)
    yield GaugeMetricFamily("relight_max_sessions", "Participants admitted at once.", load.capacity)
    family = GaugeMetricFamily(
        "relight_places", "Participants that this machine holds at 30 pictures a second, by size.", labels=("size",)
    )
    for size, count in load.places.items():
        family.add_metric((size,), count)
    yield family
    yield GaugeMetricFamily("relight_frame_cpu_seconds", "CPU time of one picture of 640x480, now.", load.frame_cpu_s)
    yield GaugeMetricFamily("relight_step", "Step-down of sizes and rates: 0 none, 3 the most.", load.level)
    yield GaugeMetricFamily("relight_waiting_participants", "Participants who wait for a place.", load.waiting)
    yield GaugeMetricFamily("relight_publishers", "Sessions that came by WHIP.", load.publishers)
    yield GaugeMetricFamily("relight_waiting_uploads", "Uploads that are read or wait.", load.waiting_uploads)
    family = GaugeMetricFamily(
        "relight_queue_items",
        "What waits, of all sessions: frames in mailbox, device and pacer, and messages.",
        labels=("queue",),
    )
    for queue, count in sorted(load.queues.items()):
        family.add_metric((queue,), count)
    yield family
