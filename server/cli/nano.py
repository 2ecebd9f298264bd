"""`relight nano` makes the small demonstration model from nothing. The work is done in `training.nano`."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

COLUMNS = (
    TextColumn("{task.description:>5}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[status]}"),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


def nano(
    output: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for heads, VAE, run and weights.")],
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on where it was cut off, or train again on the same heads.")
    ] = True,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting over training/configs/nano.toml (nano_further.toml). May be repeated."),
    ] = None,
    facekit: Annotated[
        Path | None,
        typer.Option("--facekit", metavar="FILE", help="facekit.npz of ICT-FaceKit: scanned heads, not drawn ones."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--start", metavar="WEIGHTS", help="Train these weights further: a folder of `relight nano`, or nano."
        ),
    ] = None,
    hint_gain: Annotated[
        float, typer.Option(min=0.1, max=10, help="Multiplies what the hint says, in the packed weights.")
    ] = 1.0,
) -> None:
    """Render heads, train VAE and LCVD, pack the weights: `relight serve --engine lcvd --weights FOLDER/weights`.

    Interrupted, the same command goes on. The last line of stdout is one JSON document. Exit status 2: a mistake or a
    full disk.
    """
    from training.nano import NanoSource, train_nano

    console = Console(stderr=True)
    began = time.perf_counter()
    with Progress(*COLUMNS, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, of: int, status: str) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=of, status=status)
            progress.update(tasks[stage], completed=done, status=status)

        result = train_nano(
            output, changes or (), resume=resume, on_stage=show, source=NanoSource(facekit, start, hint_gain)
        )
    if result is None:
        console.print("saved; the same command goes on", highlight=False)
        print(json.dumps({"output": str(output), "weights": None}), flush=True)
        return
    last = result.train.validation
    console.print(f"weights: {result.weights} ({result.bytes / 1e6:.1f} MB)", highlight=False, markup=False)
    document = {
        "output": str(output),
        "weights": str(result.weights),
        "bytes": result.bytes,
        "step": result.train.step,
        "loss": result.train.loss,
        "psnr": last.psnr if last else None,
        "psnr_reference": last.psnr_reference if last else None,
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(document, allow_nan=False), flush=True)
