"""`relight bench lcvd` measures a grid of backends, precisions, steps and strides: table, JSON and a plot."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from server.cli.bench import check_plot

if TYPE_CHECKING:
    from engine.bench.lcvd import BackendTimes, GridRow, LcvdBench

LIVE_POINTS = ((1, 1, 4), (2, 2, 10), (4, 2, 10))  # run live where they are in the grid: (steps, branches, stride)


@dataclass(frozen=True, slots=True)
class GridOptions:
    """The grid's options; strings are lists with commas."""

    weights: str = "auto"  # random-full, random-tiny, a name or a folder; auto: the published ones if here, else random
    size: int = 0  # 0: 512, or 64 for a tiny model
    backends: str = "eager,compiled"
    precisions: str = ""  # "": bf16 on a GPU, fp32 on a CPU
    steps: str = "1,2,4,8,25"
    strides: str = "4,8,10"
    branches: str = "1,2"
    camera_fps: float = 25.0
    live_s: float = 6.0
    budget_s: float = 420.0  # what is left when it is spent is left out and listed


def lcvd(
    weights: Annotated[
        str, typer.Option(help="random-full, random-tiny, a name or a folder; auto: what fits.")
    ] = "auto",
    pixels: Annotated[
        int, typer.Option(help="Side of the avatar. Default: the weights', 64 for a random tiny one.")
    ] = 0,
    backends: Annotated[str, typer.Option(help="Of the grid, with commas.")] = "eager,compiled",
    precisions: Annotated[str, typer.Option(help="fp32, bf16, fp16; default: by device.")] = "",
    steps: Annotated[str, typer.Option(help="Denoising steps.")] = "1,2,4,8,25",
    strides: Annotated[str, typer.Option(help="Fresh frames a window.")] = "4,8,10",
    branches: Annotated[str, typer.Option(help="2 with guidance, 1 without.")] = "1,2",
    camera_fps: Annotated[float, typer.Option(min=1, max=60, help="Of live runs.")] = 25.0,
    live_seconds: Annotated[float, typer.Option(min=0, help="Each live run; 0: none.")] = 6.0,
    budget_s: Annotated[float, typer.Option(min=1, help="After this many seconds the rest is left out.")] = 420.0,
    plot: Annotated[Path | None, typer.Option(help="Write fps against delay as a PNG.")] = None,
    json_only: Annotated[bool, typer.Option("--json-only", help="No table, only the JSON line.")] = False,
) -> None:
    """Measure LCVD's grid of backends, precisions, steps and strides. The last line of stdout is one JSON document.

    Exit status 1 where nothing could be measured.
    """
    if plot is not None:
        check_plot(plot)
    console = Console(stderr=json_only, quiet=json_only)
    options = GridOptions(
        weights, pixels, backends, precisions, steps, strides, branches, camera_fps, live_seconds, budget_s
    )
    result = bench_lcvd(options, console)
    show(result, console)
    if plot is not None:
        draw(result, plot)
        console.print(f"[dim]plot:[/] {escape(str(plot))}", highlight=False, soft_wrap=True)
    print(json.dumps(result.as_json()), flush=True)
    if not result.grid:
        raise typer.Exit(1)


def bench_lcvd(options: GridOptions, console: Console) -> "LcvdBench":
    """Runs the grid. A backend that cannot run here costs its rows and a line, not the rest."""
    import torch

    from engine.backends.make_backend import make_backend
    from engine.bench.lcvd import (
        GridPoint,
        LcvdBench,
        chip_rate,
        floor_table,
        flops_of,
        grid_row,
        make_engine_of,
        run_live,
        time_backend,
        time_windows,
    )
    from engine.errors import EngineError
    from lcvd.errors import LcvdError
    from lcvd.model import dtype_from_name

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights, scale = _weights(options.weights, device.type)
    size = options.size or _size(weights, scale)
    if scale == "full" and device.type == "cpu":
        raise typer.BadParameter(
            "one forward of the published size is 40 TFLOP, some ten minutes on a CPU; use random-tiny",
            param_hint="--weights",
        )
    precisions = (options.precisions or ("bf16" if device.type == "cuda" else "fp32")).split(",")
    points = [
        GridPoint(steps, branches, stride)
        for steps, branches, stride in product(
            _numbers("--steps", options.steps, (1, 2, 4, 8, 25)),
            _numbers("--branches", options.branches, (1, 2)),
            _numbers("--strides", options.strides, (4, 8, 10)),
        )
    ]
    flops, gflop = flops_of(scale, size)
    chip_dtype = dtype_from_name("bf16" if device.type == "cuda" else "fp32")
    chip = chip_rate(device, chip_dtype)
    times: list[BackendTimes] = []
    rows: list[GridRow] = []
    left_out: list[str] = []

    def measure(name: str, precision: str) -> None:
        model = _model(weights, scale, device, precision)
        backend = make_backend(name, model)
        times.append(time_backend(backend, model, precision, size, chip, flops))
        console.print(f"[dim]  forward {times[-1].forward_ms[1]:.1f} ms, {times[-1].share:.0%} of the chip[/]")
        engine = make_engine_of(backend, size)
        engine.warmup()
        for point in points:
            window_s = time_windows(engine, point, size)
            live = None
            if options.live_s > 0 and (point.steps, point.branches, point.stride) in LIVE_POINTS:
                live = run_live(engine, point, size, options.camera_fps, options.live_s)
                engine = make_engine_of(backend, size)  # the live run closed it
                engine.warmup()
            rows.append(grid_row(name, precision, point, window_s, options.camera_fps, live))
            # One by one: what a run that is cut short has measured is not lost.
            console.print(f"[dim]  {point.steps} steps, {point.branches} branches, {point.stride} fresh: "
                          f"{1e3 * window_s:.1f} ms[/]", highlight=False)  # fmt: skip

    label = ""
    try:
        with _budget(options.budget_s):
            for precision, name in product(precisions, options.backends.split(",")):
                label = f"{name} {precision}"
                console.print(f"[dim]{escape(label)} …[/]", highlight=False)
                try:
                    measure(name, precision)
                except (EngineError, LcvdError) as error:
                    left_out.append(f"{label}: {error.message}; {error.hint}")
                except (RuntimeError, ValueError, ImportError) as error:  # a compiler's or a driver's own words
                    left_out.append(f"{label}: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
    except _BudgetSpent:
        left_out.append(f"{label} and what follows: the budget of {options.budget_s:.0f} s was spent")
    return LcvdBench(
        weights=weights,
        scale=scale,
        size=size,
        device=torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        chip_tflops=round(chip, 3),
        chip_dtype=str(chip_dtype).removeprefix("torch."),
        camera_fps=options.camera_fps,
        gflop=gflop,
        floor=floor_table(flops) if scale == "full" else floor_table(flops_of("full", 512)[0]),
        backends=times,
        grid=rows,
        left_out=left_out,
    )


class _BudgetSpent(BaseException):
    """Ends the grid. It is no Exception, so that a compiler that catches every Exception does not swallow it."""


@contextmanager
def _budget(seconds: float) -> Iterator[None]:
    """Raises _BudgetSpent in the main thread when `seconds` are over, also out of a compiler."""

    def spent(*_: object) -> None:
        raise _BudgetSpent

    before = signal.signal(signal.SIGALRM, spent)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def show(result: "LcvdBench", console: Console) -> None:
    """Prints the device, the stages, the grid, and the lower bound that operations over rate set."""
    card = result.machine
    console.print(
        f"[bold]relight bench[/]  lcvd, weights {result.weights}, {result.size} px, commit {result.commit}",
        highlight=False,
    )
    console.print(
        f"[dim]{result.device if result.device != 'CPU' else card['cpu']}, {card['cores']} cores, Python "
        f"{card['python']}; a square {result.chip_dtype} product runs at {result.chip_tflops:g} TFLOP/s here[/]",
        highlight=False,
    )
    stages = Table(
        "backend", "warm-up s", "portrait ms", "hint ms", "forward 1 / 2 ms", "decode ms", "TFLOP/s", "of chip", "MB",
        title="Stages alone (hint and decode: a frame)",
    )  # fmt: skip
    for each in result.backends:
        stages.add_row(
            f"{each.backend} {each.precision}", f"{each.warmup_s:.1f}", f"{each.encode_ms:.1f}",
            f"{each.features_ms:.2f}", f"{each.forward_ms[0]:.1f} / {each.forward_ms[1]:.1f}",
            f"{each.decode_ms:.2f}", f"{each.tflops:.3g}", f"{each.share:.0%}", f"{each.memory_mb:.0f}",
        )  # fmt: skip
    console.print(stages)
    grid = Table(
        "backend", "steps", "guided", "fresh", "window ms", "makes fps", f"at {result.camera_fps:g} fps camera",
        "predicted s", "measured s (p95)", title="Windows of 16 frames",
    )  # fmt: skip
    for row in result.grid:
        grid.add_row(
            f"{row.backend} {row.precision}", f"{row.steps}", "yes" if row.branches == 2 else "no", f"{row.stride}",
            f"{row.window_ms:.1f}", f"{row.fps:.1f}",
            f"{row.output_fps:.1f}" + ("" if row.keeps_up else " (behind)"), f"{row.predicted_delay_s:.2f}",
            "" if row.measured_delay_s is None else f"{row.measured_delay_s:.2f} ({row.measured_p95_s:.2f})",
        )  # fmt: skip
    console.print(grid)
    floor = Table("chip", "rate used", *(f"{n} steps: ms (fps)" for n in (1, 2, 4, 8, 25)), title=(
        "Floor at 512 px, 10 fresh frames, guidance: operations over rate, nothing measured"
    ))  # fmt: skip
    for line in result.floor:
        floor.add_row(
            line["chip"], f"{line['share']:.0%}",
            *(f"{line[f'{n}_steps_ms']:.0f} ({line[f'{n}_steps_fps']:g})" for n in (1, 2, 4, 8, 25)),
        )  # fmt: skip
    console.print(floor)
    for why in result.left_out:
        console.print(f"[yellow]left out:[/] {escape(why)}", highlight=False)
    _targets(result, console)


def _targets(result: "LcvdBench", console: Console) -> None:
    """Prints the project's goals at the published size, each with its number, met or not."""
    if result.scale != "full" or result.device == "CPU" or result.size != 512:
        console.print("[dim]The goals are for 512 px on an H200: not measured in this run.[/]")
        return

    def best(steps: int) -> "GridRow | None":
        rows = [r for r in result.grid if (r.steps, r.branches, r.stride) == (steps, 2, 10)]
        return max(rows, key=lambda r: r.fps, default=None)

    def line(what: str, value: float | None, met: bool, unit: str) -> None:
        shown = "not measured" if value is None else f"{value:.3g} {unit}"
        console.print(f"{what}: [bold]{shown}[/] {'[green]met[/]' if met else '[red]not met[/]'}", highlight=False)

    for steps, wanted in ((4, 25.0), (2, 50.0)):
        row = best(steps)
        fps = None if row is None else row.fps
        line(f"{steps} steps, guidance, 10 fresh (goal {wanted:g} fps)", fps, fps is not None and fps >= wanted, "fps")
    share = max((each.share for each in result.backends), default=None)
    line("UNet's share of the chip's rate (goal 0.5)", share, share is not None and share >= 0.5, "")
    row = best(4)
    delay = None if row is None else row.measured_delay_s
    line("delay at 25 fps, 4 steps (goal 1.0 s)", delay, delay is not None and delay <= 1.0, "s")
    row = best(25)
    hundred = None if row is None else 100 / row.fps
    met = hundred is not None and hundred <= 12
    line("100 frames, 25 steps (paper 120 s on a 4090; goal 12 s)", hundred, met, "s")


def draw(result: "LcvdBench", path: Path) -> None:
    """Draws fps against delay: one line for each backend, one point for each row, labelled with its steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axis = plt.subplots(figsize=(9, 5.5))
    labels = sorted({(row.backend, row.precision) for row in result.grid})
    named: set[str] = set()
    marks = {4: "^", 8: "s", 10: "o"}
    for i, (backend, precision) in enumerate(labels):
        for branches in (1, 2):
            rows = [r for r in result.grid if (r.backend, r.precision, r.branches) == (backend, precision, branches)]
            for stride in sorted({r.stride for r in rows}):
                name = f"{backend} {precision}, {stride} fresh"
                line = sorted((r for r in rows if r.stride == stride), key=lambda r: r.steps)
                x, y = [r.predicted_delay_s for r in line], [r.fps for r in line]
                filled = f"C{i}" if branches == 2 else "none"
                axis.plot(x, y, color=f"C{i}", alpha=0.35, linewidth=1)
                axis.scatter(x, y, marker=marks.get(stride, "o"), facecolors=filled, edgecolors=f"C{i}", s=34, zorder=3,
                             label=name if name not in named else None)  # fmt: skip
                named.add(name)
                for row in line:
                    axis.annotate(f"{row.steps}", (row.predicted_delay_s, row.fps), fontsize=7, xytext=(4, 3),
                                  textcoords="offset points", color="#555")  # fmt: skip
    axis.axhline(result.camera_fps, color="#888", linestyle=":", linewidth=1)
    axis.annotate(f"camera, {result.camera_fps:g} fps", (0.995, result.camera_fps), xycoords=("axes fraction", "data"),
                  fontsize=8, ha="right", va="bottom", color="#666")  # fmt: skip
    for scale, ticks in ((axis.set_xscale, axis.xaxis), (axis.set_yscale, axis.yaxis)):
        scale("log")
        ticks.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ticks.set_major_formatter("{x:g}")
        ticks.set_minor_formatter(NullFormatter())
    axis.set_xlabel("predicted delay, s (numbers: denoising steps; hollow: without guidance)")
    axis.set_ylabel("frames a second the device makes")
    axis.set_title(f"LCVD {result.size} px, {result.weights}, {result.device}, {result.commit}")
    if named:
        axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _weights(asked: str, device: str) -> tuple[str, Any]:
    """Returns what to load, and "full" or "tiny"."""
    if asked == "auto":
        from lcvd.weights.location import weights_folder

        if device == "cuda" and weights_folder("lcvd-published").is_dir():
            return "lcvd-published", "full"
        return ("random-full", "full") if device == "cuda" else ("random-tiny", "tiny")
    if asked in ("random-full", "random-tiny"):
        return asked, asked.removeprefix("random-")
    from lcvd.networks.unet import SVD_CHANNELS
    from lcvd.weights.load import find_weights

    channels = tuple(find_weights(asked).parts["unet"].config.get("block_out_channels", ()))
    return asked, "full" if channels == SVD_CHANNELS else "tiny"


def _size(weights: str, scale: str) -> int:
    """Returns the side in px that these weights are served at."""
    from lcvd.weights.location import TRAINED_SIZE, served_size

    if weights.startswith("random-"):
        return TRAINED_SIZE if scale == "full" else 64
    return served_size(weights)


def _model(weights: str, scale: Any, device: Any, precision: str) -> Any:
    from lcvd.model import load_lcvd
    from lcvd.random_model import random_lcvd

    if weights.startswith("random-"):
        return random_lcvd(scale, device, precision)
    return load_lcvd(weights, device, precision)


def _numbers(option: str, text: str, legal: tuple[int, ...]) -> list[int]:
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or any(value not in legal for value in values):
        raise typer.BadParameter(f"{text!r}: a list of {', '.join(map(str, legal))}", param_hint=option)
    return values
