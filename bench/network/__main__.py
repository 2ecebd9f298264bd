"""Measure a participant on bad networks: a real Chromium with the SDK and a real server, in network namespaces.

    sudo .venv/bin/python -m bench.network                      # all cases, 4 minutes; Linux, root, iproute2, Chromium
    sudo .venv/bin/python -m bench.network outage address       # some
    sudo .venv/bin/python -m bench.network --raw raw.json       # everything that was read, to look at afterwards

The source is a numbered picture of 640×480 at 20 fps; `fps` and `delay` are of the relit pictures that the SDK gives
out, drawn → shown, in ms: before, during and after the bad spell. `back` is the time from the end of the spell (of a
changed address: from the change) to a relit picture that was drawn after it; `delay back`, until the median of half a
second is within 30 ms of what it was; `gap` is the longest time without a relit picture. `size` is the smallest and the
last width that came back, `kbit/s` what came back in the second half of the spell. In between the SDK shows the
camera, which counts as no picture. Loss, jitter, rate and outage are the same both ways; the rate has a queue of 0.3 s.
The engine is `passthrough` unless told otherwise, so that the numbers are the network's.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.network.link import Conditions
from bench.network.namespaces import CLIENT_ADDRESS, ROOT, SERVER_ADDRESS, Network, network

PORT = 8080
URL = f"http://{SERVER_ADDRESS}:{PORT}/"
SETTLE_S, BEFORE_S, AFTER_S = 5.0, 5.0, 12.0
NEAR_MS = 30.0


@dataclass(frozen=True)
class Case:
    """A spell of bad network."""

    name: str
    conditions: Conditions
    seconds: float
    changes_address: bool = False


CASES = (
    Case("clean", Conditions(), 8),
    Case("loss", Conditions(loss=0.05), 14),
    Case("jitter", Conditions(jitter_s=0.1), 14),
    Case("narrow", Conditions(rate_bps=1e6), 20),
    Case("outage", Conditions(down=True), 10),
    Case("address", Conditions(), 0, changes_address=True),
)
Raw = dict[str, Any]


def run(case: Case, net: Network) -> tuple[Raw, float, float]:
    """Returns what the participant read, and the begin and the end of the spell (wall clock, ms)."""
    net.become(Conditions())
    words = net.command("client", sys.executable, "-m", "bench.network.client", URL)
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        if client.stdout.readline().strip() != "live":
            raise SystemExit(f"bench.network: {case.name}: no relit picture came")
        time.sleep(SETTLE_S + BEFORE_S)
        begin = time.time()
        net.become(case.conditions)
        if case.changes_address:
            net.change_address()
        time.sleep(case.seconds)
        end = time.time()
        net.become(Conditions())
        time.sleep(AFTER_S)
        client.stdin.write("stop\n")
        client.stdin.flush()
        raw = json.loads(client.stdout.readline())
    if case.changes_address:
        net.change_address("10.77.0.3", CLIENT_ADDRESS)
    return raw, begin * 1e3, end * 1e3


def row(case: Case, raw: Raw, begin: float, end: float) -> dict[str, Any]:
    """Returns the line of the table. Times in ms."""
    relit = [(at, age, width) for at, age, state, width, _ in raw["pictures"] if state == "live" and age is not None]
    at, age = np.array([each[0] for each in relit]), np.array([each[1] for each in relit])
    last = raw["pictures"][-1][0]
    spans = {"before": (begin - BEFORE_S * 1e3, begin), "during": (begin, end), "after": (last - BEFORE_S * 1e3, last)}
    found: dict[str, Any] = {"case": case.name}
    for name, (since, until) in spans.items():
        inside = (at >= since) & (at < until)
        found[f"fps {name}"] = (
            round(float(inside.sum() / max(1e-3, (until - since) / 1e3)), 1) if until > since else None
        )
        for label, share in (("p50", 50), ("p95", 95)):
            found[f"{label} {name}"] = round(float(np.percentile(age[inside], share))) if inside.any() else None
    fresh = (at - age > end) & (at > end)
    found["back"] = round(float(at[fresh][0] - end)) if fresh.any() else None
    found["delay back"] = _delay_back(at, age, end, found["p50 before"])
    inside = at[(at >= begin - 1000) & (at < last)]
    found["gap"] = round(float(np.diff([*inside, last]).max())) if inside.size else None
    widths = [
        number["frameWidth"]
        for number in raw["numbers"]
        if number["type"] == "inbound-rtp" and number.get("frameWidth") and begin <= number["at"]
    ]
    found["size"] = f"{min(widths)}/{widths[-1]}" if widths else None
    found["kbit/s"] = _kbps(raw["numbers"], (begin + end) / 2, end)
    return found


def _delay_back(at: Any, age: Any, end: float, before: float | None) -> int | None:
    if before is None:
        return None
    for since in np.arange(end, at[-1] - 500, 100):
        inside = age[(at >= since) & (at < since + 500)]
        if inside.size >= 5 and np.median(inside) < before + NEAR_MS:
            return round(float(since - end))
    return None


def _kbps(numbers: list[Raw], since: float, until: float) -> int | None:
    came = [
        (each["at"], each["bytesReceived"], each["id"])
        for each in numbers
        if each["type"] == "inbound-rtp" and since <= each["at"] <= until
    ]
    if len(came) < 2 or came[0][2] != came[-1][2]:
        return None
    return round((came[-1][1] - came[0][1]) * 8 / max(1.0, came[-1][0] - came[0][0]))


def serve(net: Network, engine: str, log: Path) -> "subprocess.Popen[bytes]":
    """Starts the server in its namespace; returns once it answers there."""
    words = [sys.executable, "-m", "server.cli.main", "serve", "--host", SERVER_ADDRESS, "--port", str(PORT), "--open"]
    words += ["--engine", engine]
    with log.open("wb") as out:
        process = subprocess.Popen(net.command("server", *words), cwd=ROOT, stdout=out, stderr=out)
    ready = f"import urllib.request; urllib.request.urlopen('{URL}readyz', timeout=2)"
    deadline_s = time.monotonic() + 120
    while subprocess.run(net.command("server", sys.executable, "-c", ready), capture_output=True).returncode:
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise SystemExit(f"bench.network: the server does not answer:\n{log.read_text()[-3000:]}")
        time.sleep(0.5)
    return process


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows in Markdown."""
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join(
        lines + ["| " + " | ".join("–" if each[c] is None else str(each[c]) for c in columns) + " |" for each in rows]
    )


def main() -> None:
    """Runs the cases and prints the table, and one line of JSON."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m bench.network", description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--engine", default="passthrough")
    parser.add_argument("--raw", type=Path, help="write everything that was read to this file")
    given = parser.parse_args()
    if unknown := [name for name in given.cases if name not in names]:
        parser.error(f"{unknown[0]!r} is no case: use {', '.join(names)}")
    if os.geteuid() != 0:
        parser.error("network namespaces take root: run it with sudo, or in a container")
    rows, raws = [], {}
    with tempfile.TemporaryDirectory() as folder, network() as net:
        log = Path(folder) / "server.log"
        server = serve(net, given.engine, log)
        try:
            for case in CASES:
                if not given.cases or case.name in given.cases:
                    raw, begin, end = run(case, net)
                    rows.append(row(case, raw, begin, end))
                    raws[case.name] = {"begin": begin, "end": end, **raw}
                    print(rows[-1], file=sys.stderr, flush=True)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)
            if given.raw:
                given.raw.write_text(json.dumps({**raws, "log": log.read_text()}))
    print(table(rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
