"""`relight bench viewers` measures the server's CPU with a participant alone and with each viewer more."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine import ENGINES
from server.cli.bench import parse_size


def viewers(
    viewers: Annotated[int, typer.Option(min=1, max=32, help="The most viewers at once.")] = 3,
    engine: Annotated[str, typer.Option(help=f"Of the participant: {', '.join(ENGINES)}.")] = "ratio",
    seconds: Annotated[float, typer.Option(min=1, help="With each number of viewers.")] = 10.0,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the participant's picture.")] = "640x480",
    codec: Annotated[str, typer.Option(help="vp8 or h264, of the participant and the viewers.")] = "vp8",
    light: Annotated[str, typer.Option("--light", "-l", help="A preset.")] = "rembrandt-left",
    json_only: Annotated[bool, typer.Option("--json-only", help="No table, only the JSON line.")] = False,
) -> None:
    """Measure what viewers (WHEP) cost the server. The last line of stdout is one JSON document."""
    from engine.bench.throughput import pictures
    from server.rtc.bench.viewer_load import bench_viewers

    if engine not in ENGINES or ENGINES[engine].shows_avatar:
        legal = ", ".join(name for name, spec in ENGINES.items() if not spec.shows_avatar)
        raise typer.BadParameter(f"{engine!r} cannot be measured so; use one of {legal}", param_hint="--engine")
    if codec not in ("vp8", "h264"):
        raise typer.BadParameter(f"{codec!r} is no codec here; use vp8 or h264", param_hint="--codec")
    result = bench_viewers(engine, light, pictures(None, parse_size(size)), seconds, viewers, codec)
    if not json_only:
        console = Console()
        table = Table(
            "viewers",
            "CPU cores",
            "fps",
            "CPU ms a picture",
            title=f"{result.engine}, {result.width}x{result.height}, {codec}",
        )
        for load in result.loads:
            numbers = f"{load.cpu_cores:.3f}", f"{load.fps:.1f}", f"{load.cpu_ms_a_picture:.2f}"
            table.add_row(str(load.viewers), *numbers)
        console.print(table)
        if (each := result.viewer_ms) is not None:
            console.print(f"each viewer beyond the first: [bold]{each:.2f} ms[/] of CPU a picture")
    print(json.dumps(result.as_json()), flush=True)
