"""Measures glass to glass: drawn → encoded → server → relit → decoded → read, over WebRTC on this machine.

Starts the real server in a process of its own and connects aiortc clients in this one. Each picture carries a
timecode, so delay and losses are read from what came back; an avatar shows no timecode, so there the server's own delay
(arrival → encoder) is collected, and pictures are counted. The client's codecs are the server's (`server.rtc.codecs`).
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import ENGINES
from engine.bench.sample_clip import PORTRAIT
from engine.bench.throughput import BUDGET_FPS, BenchResult, commit, machine, rss_mb, spread
from engine.cpu_time import process_cpu_s
from engine.errors import EngineError
from server.rtc.bench.cpu_parts import cpu_seconds, floor_ms, parts_ms
from server.rtc.bench.loopback_client import Client
from server.rtc.codecs import tune

START_LIMIT_S = 300.0  # a cold start compiles and may fetch models
WARM_S = 4.0  # after the first picture: the bit rate and the light settle
GRACE_S = 1.5  # for pictures still under way at the end
STOP_LIMIT_S = 8.0
MINUTE_S = 60.0
# Of every server: what is measured is the size that was asked for.
FOR_ALL = {"COLUMNS": "400", "RELIGHT_TOKEN": "", "RELIGHT_STEP_DOWN": "false"}
Series = list[tuple[float, float]]  # (s since the start, glass-to-glass s)


def bench_loopback(
    engine: str,
    light: str,
    loop: list[NDArray[np.uint8]],
    seconds: float,
    sessions: int,
    codec: str = "vp8",
    *,
    camera_fps: float = BUDGET_FPS,
    quality: str = "",  # of an avatar
    environment: Mapping[str, str] | None = None,  # of the server: RELIGHT_LCVD_WEIGHTS …
) -> tuple[BenchResult, Series]:
    """Measures `sessions` clients of one server for `seconds`; also returns the delays over time.

    Raises EngineError where the server does not start or no picture comes back.
    """
    tune()
    with serving(engine, sessions, environment) as (url, pid):
        return asyncio.run(_measure(url, pid, engine, light, loop, seconds, sessions, codec, quality, camera_fps))


async def _measure(
    url: str,
    pid: int,
    engine: str,
    light: str,
    loop: list[NDArray[np.uint8]],
    seconds: float,
    sessions: int,
    codec: str,
    quality: str,
    camera_fps: float,
) -> tuple[BenchResult, Series]:
    avatar = engine in ENGINES and ENGINES[engine].shows_avatar
    portrait = PORTRAIT.read_bytes() if avatar else None
    clients = [Client(url, loop, codec, camera_fps) for _ in range(sessions)]
    try:
        for client in clients:
            await client.start(light, portrait, engine, quality)
        if avatar:
            await _until_shown(clients, engine)
        await asyncio.sleep(WARM_S)
        for client in clients:
            client.counts.pictures = 0
            client.counts.reports.clear()
            client.counts.states.clear()
            client.counts.unreadable = 0
        traffic = [await client.traffic() for client in clients]
        parts = await asyncio.to_thread(cpu_seconds, url)
        server_cpu, client_cpu = process_cpu_s(pid), time.process_time()
        start = time.perf_counter()
        memory: Series = []
        while (left := start + seconds - time.perf_counter()) > 0:
            await asyncio.sleep(min(1.0, left))
            memory.append((time.perf_counter() - start, rss_mb(pid)))
        end = time.perf_counter()
        server_cpu, client_cpu = process_cpu_s(pid) - server_cpu, time.process_time() - client_cpu
        parts_after = await asyncio.to_thread(cpu_seconds, url)
        after = [await client.traffic() for client in clients]
        for client in clients:
            client.check()
        stats = [client.counts.stats for client in clients]
        shown = sum(client.counts.pictures for client in clients)
        await asyncio.sleep(GRACE_S)
    finally:
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)
    for report in stats:
        if report.get("engine", {}).get("name") != engine:
            reason = report.get("engine", {}).get("message", "")
            raise EngineError(
                f"the server did not use engine {engine}: {reason or 'it fell back'}", "see relight doctor"
            )
    wall = end - start
    series: Series = []
    sent = came = 0
    for client in clients:
        counts = client.counts
        for number, drawn in counts.drawn.items():
            if start <= drawn < end:
                sent += 1
                if (arrived := counts.arrived.get(number)) is not None:
                    came += 1
                    series.append((drawn - start, arrived - drawn))
        if avatar:
            series += [(at - start, report["latency_ms"]["p50"] / 1e3) for at, report in counts.reports if at < end]
    if avatar:
        came = min(shown, sent)
    series.sort()
    delays = [delay for _, delay in series]
    first = [delay for t, delay in series if t < MINUTE_S]
    last = [delay for t, delay in series if t >= wall - MINUTE_S]
    long = wall >= 2 * MINUTE_S
    height, width = loop[0].shape[:2]
    sent_bytes, received = (sum(b[k] - a[k] for a, b in zip(traffic, after, strict=True)) for k in (0, 1))
    up_bps, down_bps = (8 * count / wall / sessions for count in (sent_bytes, received))
    return (
        BenchResult(
            engine=engine,
            mode="loopback",
            light=light,
            width=width,
            height=height,
            sessions=sessions,
            seconds=round(wall, 2),
            frames=came,
            fps=round(came / wall / sessions, 2),
            drops=sent - came,
            stages=stats[0].get("stages", {}),
            frame_ms={**stats[0].get("latency_ms", {})},
            glass_to_glass_ms=None if avatar else spread(delays),
            cpu_ms_per_frame=round(server_cpu / max(1, came) * 1e3, 2),
            cpu_cores=round(server_cpu / wall, 2),
            rss_mb=memory[-1][1] if memory else 0.0,
            commit=commit(),
            codec=codec,
            cpu_parts_ms=parts_ms(parts, parts_after, server_cpu, came),
            cpu_floor_ms=floor_ms(loop, codec, up_bps, down_bps),
            engine_states=dict(sum((client.counts.states for client in clients), Counter())),
            unreadable=None if avatar else sum(client.counts.unreadable for client in clients),
            rss_growth_mb=_growth(memory) if long else None,
            first_minute_p95_ms=spread(first)["p95"] if long else None,
            last_minute_p95_ms=spread(last)["p95"] if long else None,
            bytes_sent=sent_bytes,
            bytes_received=received,
            client_cpu_ms_per_frame=round(client_cpu / max(1, came) * 1e3, 2),
            machine=machine(),
        ),
        series,
    )


async def _until_shown(clients: list[Client], engine: str) -> None:
    """Waits until every participant sees `engine` itself and no fallback. Raises EngineError."""
    try:
        async with asyncio.timeout(START_LIMIT_S):
            while not all(c.counts.stats.get("engine", {}).get("showing") == engine for c in clients):
                for client in clients:
                    client.check()
                await asyncio.sleep(0.1)
    except TimeoutError:
        state = clients[0].counts.stats.get("engine", {})
        raise EngineError(
            f"engine {engine} was never shown: {state.get('message', '')}", "see relight doctor"
        ) from None


@contextmanager
def serving(engine: str, sessions: int = 1, environment: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Runs the real server in its own process, on a free port; yields (url, pid). Stopped at the end."""
    command = ["server.cli.main", "serve", "--host", "127.0.0.1", "--port", "0"]
    command += ["--engine", engine, "--max-sessions", str(sessions + 1), "--log-level", "warning"]
    with server_process(command, environment) as found:
        yield found


@contextmanager
def server_process(module: list[str], environment: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Runs a Python module with its arguments that prints its address; yields (url, pid). Stopped at the end."""
    command = [sys.executable, "-m", *module]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **FOR_ALL, **(environment or {})},
        )
        try:
            yield _announced(process, log), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _announced(process: "subprocess.Popen[str]", log: Any) -> str:
    """Returns the address the server prints once it is ready. Raises EngineError where it prints none."""
    found: list[str] = []
    ready = threading.Event()

    def drain() -> None:
        with suppress(ValueError, OSError):  # closed under us at the end
            for line in process.stdout or ():
                if "http://" in line and not found:
                    found.append("http://" + line.split("http://", 1)[1].split()[0])
                    ready.set()
        ready.set()

    threading.Thread(target=drain, name="relight-bench-server", daemon=True).start()
    if not ready.wait(START_LIMIT_S) or not found:
        log.seek(0)
        tail = log.read()[-2000:]
        raise EngineError(f"the server did not start:\n{tail}", "try `relight serve` alone")
    return found[0].rstrip("/").replace("localhost", "127.0.0.1")


def _growth(memory: Series) -> float:
    """Returns the resident MB gained after the first minute: medians of five samples, against the noise."""
    before = [mb for t, mb in memory if t >= MINUTE_S][:5]
    after = [mb for _, mb in memory][-5:]
    return round(float(np.median(after) - np.median(before)), 1)
