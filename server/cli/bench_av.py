"""`relight bench --loopback --av`: how far sound and picture are apart, as a table and one JSON line."""

import json
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from server.rtc.bench.loopback_av import AvResult

MIN_DELAY_S, MAX_DELAY_S = 0.03, 4.0


def parse_delays(text: str) -> list[float]:
    """Returns [0.05, 3.0] for `0.05,3`. Raises BadParameter."""
    try:
        delays = [float(part) for part in text.split(",")]
    except ValueError:
        delays = []
    if not delays or not all(MIN_DELAY_S <= delay <= MAX_DELAY_S for delay in delays) or len(set(delays)) < len(delays):
        raise typer.BadParameter(
            f"{text!r} are no delays; write seconds from {MIN_DELAY_S:g} to {MAX_DELAY_S:g}, each once: 0.05,0.5,3",
            param_hint="--delays",
        )
    return delays


def run_av(
    delays: list[float],
    loop: list[Any],
    seconds: float,
    codec: str,
    max_p95_ms: float | None,
    console: Console,
) -> None:
    """Measures and prints; exits 1 where an offset's p95 is above `max_p95_ms`."""
    from server.rtc.bench.loopback_av import bench_av

    result = bench_av(delays, loop, seconds, codec)
    show_av(result, console)
    failed = max_p95_ms is not None and result.p95_ms > max_p95_ms
    if failed:
        Console(stderr=True).print(f"[bold red]out of step:[/] p95 {result.p95_ms:.1f} ms > {max_p95_ms:g} ms")
    print(json.dumps(result.as_json()), flush=True)
    if failed:
        raise typer.Exit(1)


def show_av(result: "AvResult", console: Console) -> None:
    """Prints the offsets at each delay, and the faults of the sound."""
    table = Table(
        "picture's delay", "beeps", "not heard", "p50 ms", "|p95| ms", "|max| ms", "arrival p50", "arrival |p95|"
    )
    table.title = f"sound − picture, {result.codec}, commit {result.commit}"
    for column in table.columns[1:]:
        column.justify = "right"
    for each in result.offsets:
        table.add_row(
            each.name,
            f"{each.beeps}",
            f"{each.alone}",
            f"{each.p50_ms:+.1f}",
            f"[bold]{each.p95_ms:.1f}[/]",
            f"{each.max_ms:.1f}",
            f"{each.arrival_p50_ms:+.1f}",
            f"{each.arrival_p95_ms:.1f}",
        )
    console.print(table)
    for each in result.offsets:
        if each.first_minute_ms is not None and each.last_minute_ms is not None:
            first, last = each.first_minute_ms, each.last_minute_ms
            console.print(
                f"{each.name}: first minute {first:+.1f} ms, last {last:+.1f} ms, drift {last - first:+.1f} ms"
            )
    faults = f"{result.gaps} gap(s) over 20 ms, the longest {result.longest_gap_ms:g} ms; {result.clicks} click(s)"
    console.print(f"{faults}; {result.sound_s:g} s of sound")
