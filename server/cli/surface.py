"""`relight surface` makes and judges the CPU engine's surface network. The work is in `training.surface`."""

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

surface = typer.Typer(name="surface", help="Make and judge the CPU engine's surface network.", no_args_is_help=True)
COLUMNS = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[status]}"),
           TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
KIT = typer.Option("--facekit", metavar="FILE", help="facekit.npz of ICT-FaceKit (docs/surface.md).")


@surface.command("train")
def train_command(
    output: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for samples, log and surface.tflite.")],
    facekit: Annotated[Path, KIT],
    people: Annotated[int, typer.Option(min=2, help="People to render; a picture each.")] = 12000,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 6000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render.")] = os.cpu_count() or 1,
) -> None:
    """Render people, train the network, write DIR/surface.tflite. Interrupted, rendering goes on where it stopped.

    The last line of stdout is one JSON document. Exit status 2: a mistake or a full disk.
    """
    from training.surface.store import store_samples
    from training.surface.train import SurfaceRun, train_surface

    console = Console(stderr=True)
    began = time.perf_counter()
    with Progress(*COLUMNS, console=console) as progress:
        drawing = progress.add_task("people", total=None, status="")
        store_samples(
            facekit, output / "samples", people, workers,
            lambda done, of: progress.update(drawing, completed=done, total=of),
        )  # fmt: skip
        training = progress.add_task("training", total=steps, status="")

        def show(step: int, told: dict[str, float]) -> None:
            status = (
                f"normals {told['network_skin_deg']:.1f}°" if "network_skin_deg" in told else f"{told['light']:.3f}"
            )
            progress.update(training, completed=step, status=status)

        figures = train_surface(SurfaceRun(output / "samples", output, steps=steps), show)
    weights = output / "surface.tflite"
    document = {"weights": str(weights), "bytes": weights.stat().st_size, **figures}
    print(json.dumps(document | {"seconds": round(time.perf_counter() - began, 1)}), flush=True)


@surface.command("evaluate")
def evaluate_command(
    facekit: Annotated[Path, KIT],
    weights: Annotated[Path | None, typer.Option(help="A surface.tflite; default: the package's.")] = None,
    people: Annotated[int, typer.Option(min=1, help="Held-out people to render.")] = 24,
    sheet: Annotated[Path | None, typer.Option(help="PNG to write: room, truth, engine without and with it.")] = None,
) -> None:
    """Relight held-out rendered people with and without the network and compare with the truth.

    The last line of stdout is one JSON document: dB within head and neck, by light of the room and by skin.
    """
    from training.surface.report import compared, draw_sheet

    console = Console(stderr=True)
    with Progress(*COLUMNS, console=console) as progress:
        task = progress.add_task("people", total=people, status="")
        report = compared(facekit, weights, people, lambda done: progress.update(task, completed=done))
    if sheet is not None:
        draw_sheet(report, sheet)
    print(json.dumps(report.document), flush=True)
