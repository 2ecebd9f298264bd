"""Compare one server process with several that share the same participants, in turns on one machine.

    .venv/bin/python bench/processes.py --participants 2 4 --rounds 3 --seconds 10

Each part of a round is `relight bench --loopback`: a server of its own process and aiortc clients in another. With P
processes the participants are split evenly, so a number of participants has to be a multiple of P. Clients share the
cores with the servers and there is one client process a server, so the comparison includes the clients' interpreter
locks too. The arrangements take turns, so that a slow drift of the machine meets both alike. The last line of stdout is
one JSON document.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

COMMAND = [sys.executable, "-m", "server.cli.main", "bench", "--loopback", "--json-only"]


def run(processes: int, participants: int, seconds: float, engine: str) -> dict[str, float]:
    """Returns what `participants` got from `processes` servers at once; raises SystemExit where one of them failed."""
    share = participants // processes
    arguments = ["--sessions", str(share), "--seconds", f"{seconds:g}", "--engine", engine]
    benches = [
        subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    outputs = [bench.communicate() for bench in benches]
    for bench, (_, errors) in zip(benches, outputs, strict=True):
        if bench.returncode:
            raise SystemExit(
                f"bench/processes.py: relight bench ended with {bench.returncode}: {errors.strip()[-500:]}"
            )
    documents: list[dict[str, Any]] = [json.loads(output.splitlines()[-1]) for output, _ in outputs]
    return {
        "fps": statistics.mean(document["fps"] for document in documents),
        "p50_ms": statistics.mean(document["glass_to_glass_ms"]["p50"] for document in documents),
        "p95_ms": max(document["glass_to_glass_ms"]["p95"] for document in documents),
        "cpu_ms_per_frame": statistics.mean(document["cpu_ms_per_frame"] for document in documents),
        "rss_mb": sum(document["rss_mb"] for document in documents),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Runs the rounds and prints the median of each arrangement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--processes", type=int, default=2, help="servers to compare with one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement")
    parser.add_argument("--engine", default="ratio")
    options = parser.parse_args()
    if options.processes < 2 or options.rounds < 1 or options.seconds < 1:
        parser.error("--processes is at least 2, --rounds and --seconds at least 1")
    for participants in options.participants:
        if participants < 1 or participants % options.processes:
            parser.error(f"--participants {participants} is no multiple of --processes {options.processes}")
    results: dict[tuple[int, int], list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for participants in options.participants:
            for processes in (1, options.processes):
                found = run(processes, participants, options.seconds, options.engine)
                results.setdefault((participants, processes), []).append(found)
                print(participants, processes, json.dumps(found), file=sys.stderr, flush=True)
    print("participants  processes   fps each    p50 ms    p95 ms  CPU ms/frame    RSS MB  machine's load")
    rows = []
    for (participants, processes), found_rounds in results.items():
        row = {name: round(statistics.median(found[name] for found in found_rounds), 2) for name in found_rounds[0]}
        numbers = "{fps:11.1f}{p50_ms:10.1f}{p95_ms:10.1f}{cpu_ms_per_frame:14.1f}{rss_mb:10.0f}{load:16.1f}".format(
            **row
        )
        print(f"{participants:12}{processes:11}{numbers}")
        rows.append({"participants": participants, "processes": processes, **row})
    print(json.dumps({"engine": options.engine, "rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
