"""The metrics of a front: its own, and those of every worker with the label `worker`."""

import logging
from collections.abc import Iterable

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from server.cluster.front_header import SECRET
from server.cluster.pool import WorkerPool
from server.cluster.worker import Worker

logger = logging.getLogger(__name__)

SCRAPE_S = 2.0


async def scrape(pool: WorkerPool) -> bytes:
    """Returns everything in Prometheus' text format; a worker that does not answer is left out."""
    texts = []
    for worker in pool:
        try:
            answer = await worker.request("GET", "/metrics", headers={SECRET: worker.secret}, timeout=SCRAPE_S)
        except httpx.HTTPError as error:
            logger.debug("worker %d gives no metrics: %r", worker.number, error)
            continue
        texts.append((worker, answer.text))
    registry = CollectorRegistry()
    registry.register(_Front(pool))
    registry.register(_Workers(texts))
    return generate_latest(registry)


class _Front(Collector):
    """What the front knows itself."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        states = {"ready": 0, "warming": 0, "draining": 0}
        for worker in self._pool:
            states["draining" if worker.draining else "ready" if worker.status.ready else "warming"] += 1
        family = GaugeMetricFamily("relight_workers", "Worker processes, by state.", labels=("state",))
        for state, count in states.items():
            family.add_metric((state,), count)
        yield family
        yield CounterMetricFamily("relight_workers_lost", "Workers that died or hung.", value=self._pool.died)


class _Workers(Collector):
    """The families of all workers, put together by name."""

    def __init__(self, texts: list[tuple[Worker, str]]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for worker, text in self._texts:
            for found in text_string_to_metric_families(text):
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    labels = {**sample.labels, "worker": str(worker.number)}
                    family.add_sample(sample.name, labels, sample.value, sample.timestamp, sample.exemplar)
        yield from families.values()
