"""`relight engine` builds, lists, verifies and clears the plans that backends onnx, tensorrt and torch-tensorrt run.

Progress goes to stderr; the last line of stdout of `build` and `verify` is one JSON document. Exit status 0: all is
well; 1: a plan was refused, is missing or does not match; 2: it cannot be done here.
"""

import importlib.util
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from server.cli.plain import print_plain
from server.settings import Settings

if TYPE_CHECKING:
    from engine.backends.build import BuildRequest
    from engine.backends.plans import Plan, PlanStore
    from engine.backends.runtime import Runtime
    from lcvd.model import LcvdModel

engine = typer.Typer(name="engine", help="Plans of the LCVD engine: build, list, verify, clear.", no_args_is_help=True)

Weights = Annotated[str, typer.Option(help="Folder, or a name under the user's weights folder.")]
Size = Annotated[int, typer.Option(help="Side of the avatar in px.")]
Backend = Annotated[str, typer.Option(help="onnx, tensorrt or torch-tensorrt.")]
Precision = Annotated[str, typer.Option(help="fp32, fp16, bf16 or fp8.")]
Branches = Annotated[str, typer.Option(help="1 (no guidance), 2 (guidance), or 1,2.")]
Batch = Annotated[int, typer.Option(help="Windows that may share a call: plans for 1 to this many.")]
Decoder = Annotated[str, typer.Option(help="image, or tiny (TAESD), as the server's RELIGHT_LCVD_DECODER.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1; default: the GPU where there is one.")]
Where = Annotated[Path | None, typer.Option(help="Folder of the plans; default: RELIGHT_PLANS, or the user's cache.")]
DAY_S = 86400.0


@engine.command()
def build(
    weights: Weights = "lcvd-published",
    size: Size = 512,
    backend: Backend = "tensorrt",
    precision: Precision = "fp16",
    branches: Branches = "1,2",
    batch: Batch = 1,
    device: Device = "",
    decoder: Decoder = "image",
    plans: Where = None,
    keep_exports: Annotated[
        bool, typer.Option("--keep-exports", help="Keep the ONNX files: another backend may build from them.")
    ] = False,
) -> None:
    """Export, build and verify every plan an engine of these settings needs. Finished ones are skipped."""
    model, runtime, store, request = _prepared(
        weights, size, backend, precision, branches, batch, device, decoder, plans
    )
    from engine.backends.build import build_plans
    from engine.backends.plans import PlanRefused

    console = Console(stderr=True)
    refused = ""
    built: list[Plan] = []
    with _Stages(console) as stages:
        try:
            built = build_plans(model, runtime, store, request, stages.show, keep_exports)
        except PlanRefused as error:
            refused = error.message
    if refused:
        print_plain(console, f"refused: {refused}")
    for plan in built:
        print_plain(console, f"{plan.key.stem}: {plan.verification}")
    print(json.dumps({"plans": [_as_json(plan) for plan in built], "refused": refused}), flush=True)
    if refused:
        raise typer.Exit(1)


@engine.command()
def verify(
    weights: Weights = "lcvd-published",
    size: Size = 512,
    backend: Backend = "tensorrt",
    precision: Precision = "fp16",
    branches: Branches = "1,2",
    batch: Batch = 1,
    device: Device = "",
    decoder: Decoder = "image",
    plans: Where = None,
) -> None:
    """Run the plans there are against the eager networks once more."""
    model, runtime, store, request = _prepared(
        weights, size, backend, precision, branches, batch, device, decoder, plans
    )
    from engine.backends.build import verify_again
    from engine.backends.plans import PlanMismatch, PlanMissing

    console = Console(stderr=True)
    seen: list[Plan] = []
    problem = ""
    try:
        for plan in verify_again(model, runtime, store, request):
            seen.append(plan)
            good = plan.verification is not None and plan.verification.passed
            print_plain(console, f"{plan.key.stem}: {'' if good else 'WRONG, '}{plan.verification}")
    except (PlanMissing, PlanMismatch) as error:
        problem = error.message
        print_plain(console, f"wrong: {problem}")
    print(json.dumps({"plans": [_as_json(plan) for plan in seen], "problem": problem}), flush=True)
    if problem or not all(plan.verification is not None and plan.verification.passed for plan in seen):
        raise typer.Exit(1)


@engine.command(name="list")
def list_plans(
    weights: Annotated[str, typer.Option(help="Compare with these weights too.")] = "", plans: Where = None
) -> None:
    """List the plans: size, age, verification, and whether they fit this machine (and these weights)."""
    from engine.backends.plans import PlanMismatch, read_plan

    store = _store(plans)
    folders = store.folders()
    console = Console()
    if not folders:
        print_plain(console, f"{store.root}: empty; relight engine build")
        return
    table = Table("plan", "MB", "age", "cosine", "max error", "fits", box=None, pad_edge=False)
    now_s = time.time()
    for folder in folders:
        try:
            plan = read_plan(folder)
            plan.check()
        except PlanMismatch as error:
            table.add_row(escape(folder.name), "", "", "", "", escape(f"no: {error.message}"))
            continue
        seen = plan.verification
        table.add_row(
            escape(folder.name),
            f"{plan.bytes / 1e6:,.1f}",
            _age(now_s - plan.built_at_s),
            "" if seen is None else f"{seen.cosine:.6f}",
            "" if seen is None else f"{seen.max_error:.2g} of {seen.peak:.2g}",
            _fits(plan, weights),
        )
    print_plain(console, f"{store.root}")
    console.print(table)


@engine.command()
def clear(
    names: Annotated[list[str] | None, typer.Argument(help="Plans as `list` names them.")] = None,
    mismatching: Annotated[bool, typer.Option("--mismatching", help="All that do not fit this machine.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every plan.")] = False,
    plans: Where = None,
) -> None:
    """Delete plans."""
    from engine.backends.plans import PlanMismatch, read_plan

    store = _store(plans)
    folders = {folder.name: folder for folder in store.folders()}
    chosen = set(folders) if everything else set(names or ())
    if unknown := chosen - set(folders):
        raise typer.BadParameter(f"no such plan: {', '.join(sorted(unknown))}; see relight engine list")
    if mismatching:
        for name, folder in folders.items():
            try:
                plan = read_plan(folder)
                plan.check()
                wrong = _fits(plan, "") not in ("yes", "export")
            except PlanMismatch:
                wrong = True
            if wrong:
                chosen.add(name)
    if not (names or mismatching or everything):
        raise typer.BadParameter("name plans, or give --mismatching or --all")
    for name in sorted(chosen):
        store.remove(folders[name])
    print_plain(Console(stderr=True), f"{len(chosen)} deleted from {store.root}")


class _Stages:
    """Shows a line for each plan: its stage, and how far that is where the runtime reports it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn(), console=console
        )
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._shown: set[tuple[str, str]] = set()

    def __enter__(self) -> "_Stages":
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def show(self, stem: str, stage: str, fraction: float | None) -> None:
        """Shows the stage of one plan; the build calls it. Fraction None: not known."""
        if not self._console.is_terminal:  # a log wants one line for each stage, not a bar
            if (stem, stage) not in self._shown:
                self._shown.add((stem, stage))
                print_plain(self._console, f"{stem}: {stage}")
            return
        if stem not in self._tasks:
            self._tasks[stem] = self._progress.add_task(stem, total=None)
        over = stage in ("kept", "done", "refused")
        self._progress.update(
            self._tasks[stem],
            description=f"{stem}: {stage}",
            total=1 if over or fraction is not None else None,
            completed=1 if over else fraction or 0,
        )


def _prepared(
    weights: str,
    size: int,
    backend: str,
    precision: str,
    branches: str,
    batch: int,
    device: str,
    decoder: str,
    plans: Path | None,
) -> "tuple[LcvdModel, Runtime, PlanStore, BuildRequest]":
    for package in ("torch", "diffusers", "transformers"):
        if importlib.util.find_spec(package) is None:
            from engine.errors import EngineUnavailable

            raise EngineUnavailable(f"plans need {package}", "pip install -e '.[lcvd]'")
    import torch

    from engine.backends.build import BuildRequest
    from engine.backends.make_runtime import RUNTIMES, make_runtime
    from lcvd.model import DecoderName, load_lcvd

    if decoder not in get_args(DecoderName):
        raise typer.BadParameter(
            f"{decoder!r} is no decoder; use {' or '.join(get_args(DecoderName))}", param_hint="--decoder"
        )
    if backend not in RUNTIMES:
        raise typer.BadParameter(f"{backend!r} builds no plans; use {', '.join(RUNTIMES)}", param_hint="--backend")
    try:
        numbers = tuple(sorted({int(each) for each in branches.split(",")}))
        request = BuildRequest(size, 16, numbers, batch, precision)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    store = _store(plans)
    # Before the weights, which take minutes: a missing package is reported at once.
    runtime = make_runtime(backend, torch.device(device), store.root)
    # FP8 is for the UNet's matrices; what it leaves alone stays as an engine loads it.
    rest = ("fp32" if device == "cpu" else "fp16") if precision == "fp8" else precision
    with Console(stderr=True).status("reading the weights"):
        model = load_lcvd(weights, device, rest, decoder)  # type: ignore[arg-type]
    return model, runtime, store, request


def _store(plans: Path | None) -> "PlanStore":
    from engine.backends.plans import PlanStore

    return PlanStore(plans or Settings().plans)


def _fits(plan: "Plan", weights: str) -> str:
    """Returns "yes", "export", or "no:" and what differs from this machine."""
    from engine.backends.plans import EXPORT, RECIPE
    from engine.errors import EngineUnavailable

    if importlib.util.find_spec("torch") is None:
        return "no: torch is not installed"
    import torch

    from engine.backends.make_runtime import make_runtime
    from engine.backends.runtime import arch_of, package_versions, weights_digest

    key = plan.key
    here = {**package_versions(), "recipe": RECIPE}
    if weights:
        from lcvd.weights.load import find_weights

        here["weights"] = weights_digest(find_weights(weights).identity())
    cpu = not key.arch.startswith("sm_")
    if not cpu and not torch.cuda.is_available():
        return f"no: arch is {key.arch!r}, there is no GPU here"
    device = torch.device("cpu" if cpu else "cuda")
    here["arch"] = arch_of(device)
    if key.runtime != EXPORT:
        try:
            here["runtime_version"] = make_runtime(key.runtime, device, plan.folder.parent).version()
        except EngineUnavailable as error:
            return f"no: {error.message}"
    wrong = [
        f"{name} is {getattr(key, name)!r}, here {value!r}"
        for name, value in here.items()
        if getattr(key, name) != value
    ]
    if wrong:
        return f"no: {'; '.join(wrong)}"
    return "export" if key.runtime == EXPORT else "yes"


def _as_json(plan: "Plan") -> dict[str, Any]:
    from dataclasses import asdict

    seen = plan.verification
    return {
        "name": plan.key.name,
        "folder": str(plan.folder),
        "key": asdict(plan.key),
        "bytes": plan.bytes,
        "build_s": round(plan.build_s, 3),
        "verification": None if seen is None else {**asdict(seen), "passed": seen.passed},
    }


def _age(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.0f} d"
