"""`relight distill` trains students of few steps with guidance folded in. The work is done in `training`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from server.cli.train import COLUMNS, log_to, main_process, print_line

if TYPE_CHECKING:
    from training.comparison import Comparison
    from training.distill import DistillResult
    from training.loop.trainer import StepReport


def distill(
    config: Annotated[
        Path, typer.Argument(help="TOML file as of `relight train`, with a \\[distill] table; see training/configs.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on from the newest checkpoints, or remove what is there.")
    ] = True,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A setting over the file's: distill.steps=[2]. May be repeated.")
    ] = None,
) -> None:
    """Teach students of 4, 2 and 1 step, then measure them and their teacher on held-out heads.

    With a table \\[distill.adversarial] it is one student of one step, taught by a discriminator (docs/distill.md).
    The live engine sees in a student's weights what they are. SIGTERM and Ctrl-C save and end with exit status 0. The
    last line of stdout is one JSON document. Exit status 2: a mistake, a full disk, or numbers that were not finite.
    """
    from training.config import load_config
    from training.distill import distill as run

    settings = load_config(config, changes or ())
    console, main = Console(stderr=True), main_process()
    log_to(console)
    with Progress(*COLUMNS, console=console, disable=not main) as progress:
        tasks: dict[str, Any] = {}

        def task(name: str, total: int) -> Any:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total, status="")
            return tasks[name]

        def step(steps: int, report: "StepReport", rate: float) -> None:
            status = f"{steps} steps: loss {report.loss:.4f}, {rate:.2f} steps/s"
            progress.update(task(f"student {steps}", settings.steps), completed=report.step, status=status)

        def row(done: int, total: int) -> None:
            progress.update(task("comparison", total), completed=done, status="comparing on held-out heads")

        result = run(settings, resume=resume, on_step=step, on_row=row, main=main)
    if not main:
        return
    if result.stopped_by:
        print_line(console, f"{result.stopped_by}: saved; the same command goes on")
    for student in result.students:
        if student.weights:
            print_line(console, f"weights: {student.weights}")
    if result.comparison is not None:
        console.print(comparison_table(result.comparison))
    print(json.dumps(_document(result), allow_nan=False), flush=True)


def comparison_table(found: "Comparison") -> Table:
    """Returns the table of teacher, students and VAE; of eyes and mouth the amount of fine structure / its fit."""
    plain = f"{found.psnr_no_relight:.2f} dB, SSIM {found.ssim_no_relight:.3f}"
    title = f"{found.heads} held-out heads; no relighting: {plain}"
    names = ("steps", "calls a window", "PSNR dB", "SSIM", "light error", "eyes", "mouth", "s a window")
    table = Table("", *names, title=title)
    for row in found.rows:
        light = "–" if row.light_error is None else f"{row.light_error:.3f}"
        parts = [f"{row.parts[part].amount:.2f} / {row.parts[part].fit:.2f}" for part in ("eyes", "mouth")]
        numbers = (f"{row.psnr:.2f}", f"{row.ssim:.3f}", light, *parts, f"{row.seconds:.2f}")
        table.add_row(row.name, str(row.steps), str(row.calls), *numbers)
    return table


def _document(result: "DistillResult") -> dict[str, Any]:
    students = [
        {
            "output": str(each.output),
            "step": each.step,
            "loss": each.loss,
            "weights": str(each.weights) if each.weights else None,
            "skipped": each.skipped,
            "seconds": round(each.seconds, 2),
        }
        for each in result.students
    ]
    comparison = None if result.comparison is None else result.comparison.document()
    return {"students": students, "stopped_by": result.stopped_by, "comparison": comparison}
