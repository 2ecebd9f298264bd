"""`relight train` trains LCVD from a configuration file. The work is done in `training`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from training.loop.trainer import StepReport

COLUMNS = (
    TextColumn("training"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[status]}"),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)
SMOOTH = 0.98  # of the loss that is shown


def train(
    config: Annotated[
        Path, typer.Argument(help="TOML file; training/configs has examples, docs/training.md the list.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on from the newest checkpoint, or remove what is there.")
    ] = True,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A setting over the file's: optimizer.lr=1e-4. May be repeated.")
    ] = None,
) -> None:
    """Train, validate, save; interrupted, the same command goes on as if nothing had happened.

    Several GPUs: accelerate launch (or torchrun) in front of `-m server.cli.main train CONFIG.toml`. SIGTERM and Ctrl-C
    save and end with exit status 0. The last line of stdout is one JSON document. Exit status 2: a mistake, a full
    disk, or numbers that were not finite too often.
    """
    from training.config import load_config
    from training.errors import ConfigError
    from training.loop.train import result_document
    from training.loop.train import train as run

    settings = load_config(config, changes or ())
    if settings.distill is not None:
        raise ConfigError(f"{config}: holds a [distill] table", f"relight distill {config}")
    console = Console(stderr=True)
    log_to(console)
    main = main_process()
    with Progress(*COLUMNS, console=console, disable=not main) as progress:
        task = progress.add_task("train", total=settings.steps, status="loading")
        shown: list[float] = []

        def show(report: "StepReport", steps_per_s: float) -> None:
            if report.finite:
                shown[:] = [SMOOTH * shown[0] + (1 - SMOOTH) * report.loss if shown else report.loss]
            loss = f"{shown[0]:.4f}" if shown else "not finite"
            status = f"loss {loss}, lr {report.lr:.2g}, {steps_per_s:.2f} steps/s"
            progress.update(task, completed=report.step, status=status)

        result = run(settings, resume=resume, on_step=show)
    if not main:
        return
    if result.resumed_at:
        print_line(console, f"went on from step {result.resumed_at}")
    if result.stopped_by:
        print_line(
            console, f"{result.stopped_by}: saved at step {result.step} of {result.steps}; the same command goes on"
        )
    if result.skipped:
        print_line(
            console, f"{result.skipped} steps were skipped because of numbers that are not finite: see log.jsonl"
        )
    if result.weights:
        print_line(console, f"weights: {result.weights} (relight serve --engine lcvd --weights {result.weights})")
    print(result_document(result), flush=True)


def main_process() -> bool:
    """Returns True for rank 0, as accelerate and torchrun set it."""
    import os

    return os.environ.get("RANK", "0") == "0"


def log_to(console: Console) -> None:
    """Prints the warnings of training above the progress bar."""
    handler = RichHandler(console=console, show_time=False, show_path=False, rich_tracebacks=False)
    handler.setLevel(logging.INFO)
    logger = logging.getLogger("training")
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [handler]
    logger.propagate = False


def print_line(console: Console, text: str) -> None:
    """Prints `text` as it is: paths may hold brackets, and a wrapped path cannot be copied."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
