"""`relight surface train` renders people and trains the network."""

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from server.cli.surface.options import COLUMNS, KIT


def train(
    output: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for samples, log and surface.tflite.")],
    facekit: Annotated[Path, KIT],
    people: Annotated[int, typer.Option(min=2, help="People to render, each in three rooms.")] = 4000,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training at most.")] = 12000,
    minutes: Annotated[float, typer.Option(min=0, help="Minutes of training at most.")] = 80,
    start: Annotated[Path | None, typer.Option(metavar="FILE", help="A surface.tflite to go on from.")] = None,
    half: Annotated[bool, typer.Option(help="Convolve in bfloat16: less time where the processor has it.")] = False,
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

        run = SurfaceRun(output / "samples", output, steps=steps, minutes=minutes, start=start, half=half)
        figures = train_surface(run, show)
    weights = output / "surface.tflite"
    document = {"weights": str(weights), "bytes": weights.stat().st_size, **figures}
    print(json.dumps(document | {"seconds": round(time.perf_counter() - began, 1)}), flush=True)
