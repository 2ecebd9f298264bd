"""`relight evaluate --synthetic` compares a model with true pixels of rendered heads, and runs the paper's ablations.

The work is done in `training.evaluation`; here are options, progress, tables, files and the JSON line.
"""

import hashlib
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from lcvd.errors import LcvdError, ModelUnavailable

if TYPE_CHECKING:
    from training.evaluation import Plan, Trial

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)
SHOWN = ("psnr", "light_error", "light_moved", "identity_detail")  # fit a terminal; tables.md has all
VERDICTS = {"holds": "green", "reversed": "red", "unclear": "yellow"}


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """The options of the command line; None: not given."""

    weights: str
    device: str
    heads: int | None
    frames: int | None
    size: int | None
    steps: int | None
    sampler: str | None
    omega: float | None
    omegas: str | None
    ablations: bool
    seed: int
    out: Path | None
    quick: bool
    json_only: bool
    facekit: Path | None = None  # scanned heads, not drawn ones


def evaluate_synthetic(options: SyntheticOptions) -> None:
    """Measures, prints and writes. Raises BadParameter, WeightsError, ModelUnavailable or ShapeError."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "diffusers", "transformers")):
        raise ModelUnavailable("--synthetic runs LCVD, which needs torch", "pip install -e '.[lcvd]'")
    from lcvd.model import load_lcvd
    from lcvd.weights.load import find_weights
    from training.evaluation import run_trial
    from training.evaluation.report import document
    from training.heads.scanned.facekit import load_facekit

    console = Console(stderr=options.json_only, quiet=options.json_only)
    check(options)
    plan = plan_of(options, find_weights(Path(options.weights)).manifest)
    if options.out is not None:
        _make_folder(options.out)
    kit = None if options.facekit is None else load_facekit(options.facekit)
    model = load_lcvd(Path(options.weights), device=options.device)
    with Progress(*COLUMNS, console=Console(stderr=True, quiet=options.json_only)) as progress:
        task = progress.add_task("rendering heads", total=None)
        trial = run_trial(
            model,
            plan,
            lambda done, total, text: progress.update(task, completed=done, total=total, description=escape(text)),
            kit,
        )
    digest = hashlib.sha256(model.identity.encode()).hexdigest()[:16]
    about = {"weights": options.weights, "weights_identity": digest, "kind": "drawn" if kit is None else "scanned"}
    found = document(trial) | about
    show(trial, found, console)
    if options.out is not None:
        for line in write(trial, found, options.out):
            console.print(f"[dim]{escape(line)}[/]", highlight=False, soft_wrap=True)
    print(json.dumps(found, allow_nan=False), flush=True)


def check(options: SyntheticOptions) -> None:
    """Raises BadParameter for options that cannot be, before any weights are read."""
    if options.sampler not in (None, "euler", "ddim"):
        raise typer.BadParameter(f"{options.sampler!r} is unknown; use euler or ddim", param_hint="--sampler")
    if options.omegas is not None:
        if not options.ablations:
            raise typer.BadParameter("--no-ablations leaves them out", param_hint="--omegas")
        _numbers(options.omegas)


def plan_of(options: SyntheticOptions, manifest: Mapping[str, Any]) -> "Plan":
    """Returns the plan: what was not given is the weights' own, else --quick's. Raises BadParameter, ShapeError."""
    from training.evaluation import QUICK, Plan

    plan = _as_shipped(QUICK if options.quick else Plan(), manifest)
    sampler: Literal["euler", "ddim"] | None = options.sampler  # type: ignore[assignment]
    omegas = plan.omegas if options.omegas is None else _numbers(options.omegas)
    return replace(
        plan,
        heads=plan.heads if options.heads is None else options.heads,
        frames=options.frames or plan.frames,
        size=plan.size if options.size is None else options.size,
        steps=plan.steps if options.steps is None else options.steps,
        sampler=plan.sampler if sampler is None else sampler,
        omega=plan.omega if options.omega is None else options.omega,
        omegas=omegas if options.ablations else (),
        adapters=options.ablations,
        seed=options.seed,
    )


def _as_shipped(plan: "Plan", manifest: Mapping[str, Any]) -> "Plan":
    """Returns `plan` sampled as the manifest asks for; a student has one guidance and one number of steps."""
    from lcvd.networks.student import student_of
    from lcvd.weights.shipped_plan import shipped_steps

    student, (steps, omega) = student_of(manifest), shipped_steps(manifest)
    if student is not None:
        plan = replace(plan, steps=steps, sampler=student.sampler, omega=omega, omegas=())
    elif isinstance(manifest.get("live"), Mapping):
        plan = replace(plan, steps=steps, omega=omega)
    size = manifest.get("size")
    return replace(plan, size=size) if isinstance(size, int) else plan


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r}: give numbers with commas between, 1,2,4", param_hint="--omegas") from None
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise typer.BadParameter(f"{text!r}: ω is finite and at least 0", param_hint="--omegas")
    return numbers


def show(trial: "Trial", found: dict[str, Any], console: Console) -> None:
    """Prints the headline, both tables, and the verdict on each of the paper's trends."""
    from training.evaluation.report import TITLES
    from training.evaluation.trial import NO_RELIGHT, TRUTH, VAE

    plan = trial.plan
    about = f"{plan.heads} heads × {plan.frames} frames, {plan.size} px, {plan.steps} {plan.sampler} steps"
    headline = plan.headline.title
    _table(trial, about, [NO_RELIGHT, headline, VAE, TRUTH], TITLES, console)
    if plan.adapters:
        _table(trial, "adapters (the paper's Table 4)", [v.title for v in plan.adapter_variants], {}, console)
    if len(plan.guidance_variants) > 1:
        _table(trial, "guidance (the paper's Table 5)", [v.title for v in plan.guidance_variants], {}, console)
    for claim in found["claims"]:
        verdict = claim["verdict"]
        console.print(f"{escape(claim['claim'])}: [{VERDICTS[verdict]}]{verdict}[/]", highlight=False)


def _table(trial: "Trial", title: str, rows: Sequence[str], titles: dict[str, str], console: Console) -> None:
    from training.evaluation.report import printed
    from training.evaluation.scores import COLUMNS as METRICS
    from training.evaluation.statistics import column_of

    shown = [metric for metric in METRICS if metric.name in SHOWN]
    table = Table("", *(metric.title for metric in shown), title=escape(title))
    for name in rows:
        cells = [printed(column_of(trial.rows[name], metric.name), metric) for metric in shown]
        table.add_row(titles.get(name, name), *cells)
    console.print(table)


def write(trial: "Trial", found: dict[str, Any], folder: Path) -> list[str]:
    """Writes tables.md, scores.csv, summary.json, sheet.png, and plot.png with matplotlib; returns a line for each."""
    from training.evaluation.pictures import draw_plot, save_png, sheet
    from training.evaluation.report import markdown, per_head

    lines = []
    try:
        for name, text in (
            ("tables.md", markdown(trial)),
            ("scores.csv", per_head(trial)),
            ("summary.json", json.dumps(found, allow_nan=False, indent=1) + "\n"),
        ):
            (folder / name).write_text(text, encoding="utf-8")
            lines.append(f"wrote {folder / name}")
        save_png(folder / "sheet.png", sheet(trial))
        lines.append(f"wrote {folder / 'sheet.png'}")
        if len(trial.plan.guidance_variants) < 2:
            return lines
        if importlib.util.find_spec("matplotlib") is None:
            return [*lines, "no plot.png: it needs matplotlib (pip install matplotlib)"]
        draw_plot(trial, folder / "plot.png")
        lines.append(f"wrote {folder / 'plot.png'}")
    except OSError as error:
        reason = error.strerror or error
        raise LcvdError(f"--out {folder}: {reason}", "the numbers are above; name another folder") from None
    return lines


def _make_folder(folder: Path) -> None:
    """Makes the folder before the work, not after it. Raises BadParameter."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{folder}: {error.strerror}", param_hint="--out") from None
