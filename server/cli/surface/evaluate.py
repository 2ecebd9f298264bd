"""`relight surface evaluate` compares the CPU engine with and without the network on held-out rendered people."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from server.cli.surface.options import COLUMNS, KIT


def evaluate(
    facekit: Annotated[Path, KIT],
    weights: Annotated[Path | None, typer.Option(help="A surface.tflite; default: the package's.")] = None,
    people: Annotated[int, typer.Option(min=1, help="Held-out people to render.")] = 24,
    sheet: Annotated[Path | None, typer.Option(help="PNG to write: room, truth, engine without and with it.")] = None,
    hard: Annotated[bool, typer.Option(help="In every room one lamp from a side; a camera without faults.")] = False,
    ablate: Annotated[bool, typer.Option(help="Replace one part after another by the truth as well.")] = False,
) -> None:
    """Relight held-out rendered people with and without the network and compare with the truth.

    The last line of stdout is one JSON document: dB within head and neck, by light of the room and by skin.
    """
    from training.surface.ablation import ablated
    from training.surface.report import compared, draw_sheet

    console = Console(stderr=True)
    with Progress(*COLUMNS, console=console) as progress:
        task = progress.add_task("people", total=people, status="")
        report = compared(facekit, weights, people, lambda done: progress.update(task, completed=done), hard)
    if sheet is not None:
        draw_sheet(report, sheet)
    document = report.document
    if ablate:
        document = document | ablated(report.trials, report.lights, weights)
    print(json.dumps(document), flush=True)
