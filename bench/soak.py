"""Soak one server: participants who stay for half an hour, or many who come and go, half of them without a word.

    .venv/bin/python -m bench.soak stay --minutes 30 --sessions 2 --plot build/soak.png
    .venv/bin/python -m bench.soak visits --count 1000

`stay` gives the delay (glass to glass, p50 and p95 of each minute), the server's resident memory, threads, descriptors
and CPU time, and beside them two controls for the noise of the machine: how late a process that only sleeps wakes (p95
of a minute), and the CPU time of a fixed piece of work (median of a minute; it grows where neighbours take the core's
units or its clock falls). `visits` gives memory, threads, descriptors and sessions before, and after all have left. Who
leaves without a word has its sockets torn off: no close frame, no end of DTLS. The last line of stdout is one JSON
document.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from engine.bench.throughput import commit, machine, pictures, rss_mb
from server.cli.bench import parse_size
from server.freed_memory import EVERY_S
from server.rtc.bench.loopback import serving
from server.rtc.bench.loopback_client import Client
from server.rtc.codecs import tune

SAMPLE_S = 5.0
MINUTE_S = 60.0
LEAVE_S = 60.0  # for the server to notice who left without a word
CONTROL = """
import time
import numpy as np
a = np.random.default_rng(0).standard_normal((160, 160), np.float32)
while True:
    until, late, work = time.perf_counter() + 60, [], []
    while (now := time.perf_counter()) < until:
        time.sleep(0.01)
        late.append(time.perf_counter() - now - 0.01)
        if len(late) % 50 == 0:
            began = time.process_time()
            for _ in range(10):
                a @ a
            work.append(time.process_time() - began)
    print(np.percentile(late, 95) * 1e3, np.median(work) * 1e3, flush=True)
"""


def numbers(server: psutil.Process) -> dict[str, float]:
    """Returns the server's memory in MB, threads and descriptors."""
    return {
        "rss_mb": round(rss_mb(server.pid), 1),
        "threads": server.num_threads(),
        "descriptors": server.num_fds(),
    }


def cpu_s(server: psutil.Process) -> float:
    """Returns the CPU time that the server has taken."""
    times = server.cpu_times()
    return float(times.user + times.system)


def healthy(url: str) -> dict[str, Any]:
    """Returns what /healthz says."""
    with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
        body: dict[str, Any] = json.loads(answer.read())
    return body


async def stay(url: str, pid: int, loop: list[NDArray[np.uint8]], asked: argparse.Namespace) -> dict[str, Any]:
    """Runs the participants; returns a line for each minute."""
    server, clients = psutil.Process(pid), [Client(url, loop, "vp8", asked.fps) for _ in range(asked.sessions)]
    control = subprocess.Popen(
        [sys.executable, "-c", CONTROL],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    minutes: list[dict[str, Any]] = []
    try:
        for client in clients:
            await client.start("soft-front")
        await asyncio.sleep(10)
        start = time.perf_counter()
        for minute in range(asked.minutes):
            samples, spent = [], cpu_s(server)
            while time.perf_counter() < start + (minute + 1) * MINUTE_S:
                await asyncio.sleep(SAMPLE_S)
                samples.append(numbers(server))
                for client in clients:
                    client.check()
            begin, end = start + minute * MINUTE_S, start + (minute + 1) * MINUTE_S
            delays, drawn = [], 0
            for client in clients:
                counts = client.counts
                for number, at in list(counts.drawn.items()):
                    if begin <= at < end - 2:
                        drawn += 1
                        if (arrived := counts.arrived.get(number)) is not None:
                            delays.append((arrived - at) * 1e3)
            line: dict[str, Any] = {name: max(sample[name] for sample in samples) for name in samples[0]}
            line |= {"p50_ms": round(float(np.percentile(delays, 50)), 1)}
            line |= {"p95_ms": round(float(np.percentile(delays, 95)), 1)}
            line |= {"cpu_s": round(cpu_s(server) - spent, 1)}
            line |= {"came": round(len(delays) / max(1, drawn), 3), "load": round(os.getloadavg()[0], 1)}
            minutes.append(line)
            print(minute + 1, line, file=sys.stderr, flush=True)
    finally:
        control.kill()
        controls = [text.split() for text in (control.stdout or []) if text.strip()]
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)
    for line, (late_ms, work_ms) in zip(minutes, controls, strict=False):
        line |= {"control_ms": round(float(late_ms), 2), "work_ms": round(float(work_ms), 3)}
    return {"sessions": asked.sessions, "fps": asked.fps, "minutes": minutes}


async def visit(url: str, loop: list[NDArray[np.uint8]], silent: bool) -> None:
    """Comes, sees three pictures, and leaves."""
    client = Client(url, loop, "vp8", 10)
    try:
        await client.start("soft-front")
        while client.counts.pictures < 3:
            await asyncio.sleep(0.02)
    finally:
        if silent:
            client.vanish()
        await client.close()


async def visits(url: str, pid: int, loop: list[NDArray[np.uint8]], asked: argparse.Namespace) -> dict[str, Any]:
    """Runs the visits, a few at once; returns the numbers before and after."""
    server, turn, failed = psutil.Process(pid), asyncio.Semaphore(asked.at_once), []
    for silent in (False, True) * 5:
        await visit(url, loop, silent)
    await until_empty(url)
    before = numbers(server)

    async def one(number: int) -> None:
        async with turn:
            try:
                await visit(url, loop, number % 2 == 1)
            except Exception as error:  # counted, and the others go on
                failed.append(repr(error)[:200])
            if number % 100 == 99:
                print(number + 1, numbers(server), len(failed), file=sys.stderr, flush=True)

    await asyncio.gather(*(one(number) for number in range(asked.count)))
    await until_empty(url)
    return {"count": asked.count, "failed": failed, "before": before, "after": numbers(server), **healthy(url)}


async def until_empty(url: str) -> None:
    """Waits until nobody is there any more."""
    deadline_s = time.monotonic() + LEAVE_S
    while healthy(url)["sessions"] and time.monotonic() < deadline_s:
        await asyncio.sleep(0.5)
    await asyncio.sleep(EVERY_S + 3)  # so that what they held has gone back


def plot(minutes: list[dict[str, Any]], path: Path) -> None:
    """Draws the lines of `stay` over the time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(5, 1, sharex=True, figsize=(8, 11))
    at = range(1, len(minutes) + 1)
    for name in ("p50_ms", "p95_ms", "control_ms"):
        axes[0].plot(at, [line.get(name) for line in minutes], label=name.replace("_ms", ""))
    axes[0].set_ylabel("delay, ms")
    axes[0].legend()
    for axis, name in zip(axes[1:], ("work_ms", "rss_mb", "threads", "descriptors"), strict=True):
        axis.plot(at, [line.get(name) for line in minutes])
        axis.set_ylabel("fixed work, ms" if name == "work_ms" else name)
    axes[-1].set_xlabel("minute")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    """Runs one of the two and prints its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    staying = commands.add_parser("stay")
    staying.add_argument("--minutes", type=int, default=30)
    staying.add_argument("--sessions", type=int, default=2)
    staying.add_argument("--fps", type=float, default=30.0)
    staying.add_argument("--plot", type=Path)
    visiting = commands.add_parser("visits")
    visiting.add_argument("--count", type=int, default=1000)
    visiting.add_argument("--at-once", type=int, default=3)
    for each in (staying, visiting):
        each.add_argument("--engine", default="ratio")
        each.add_argument("--size", default="640x480", help="WIDTHxHEIGHT")
    asked = parser.parse_args()
    tune()
    loop = pictures(None, parse_size(asked.size))
    places = asked.sessions if asked.command == "stay" else 60  # a place is held 10 s for who vanished
    environment = {"OMP_NUM_THREADS": "1", "RELIGHT_STEP_DOWN": "false"}
    with serving(asked.engine, places, environment) as (url, pid):
        work = stay if asked.command == "stay" else visits
        result = asyncio.run(work(url, pid, loop, asked))
    if asked.command == "stay":
        first, last = result["minutes"][0], result["minutes"][-1]
        print(
            f"p95 first minute {first['p95_ms']} ms, last {last['p95_ms']} ms ({last['p95_ms'] / first['p95_ms']:.2f})"
        )
        if asked.plot:
            plot(result["minutes"], asked.plot)
    else:
        print(
            f"before {result['before']}\nafter  {result['after']}\nfailed {len(result['failed'])} of {result['count']}"
        )
    print(json.dumps({"machine": machine(), "commit": commit(), **result}))


if __name__ == "__main__":
    main()
