"""`relight bench` measures an engine, alone or through WebRTC: a table for people, one JSON line for programs."""

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from engine import ENGINES
from server.cli.bench_av import parse_delays, run_av

if TYPE_CHECKING:
    from engine.bench.throughput import BenchResult

LOOPBACK = "With --loopback"  # the panel of options that only the way through WebRTC reads
OF_AV = ("loopback", "lip_sync", "delays", "seconds", "clip", "size", "codec", "max_p95_ms", "json_only")
# Of `relight bench`, which its grid of LCVD never read: the old spelling drops them as it did before.
NOT_OF_THE_GRID = (
    "--engine",
    "--seconds",
    "--clip",
    "--size",
    "--sessions",
    "--light",
    "-l",
    "--codec",
    "--quality",
    "--max-p95-ms",
)

RENAMED = (
    "[yellow]warning:[/] `relight bench --engine lcvd` is `relight bench lcvd` now; the next version knows only that"
)


class BenchGroup(TyperGroup):
    """Takes `relight bench --engine lcvd …`, the spelling up to 0.1, as `relight bench lcvd …` with a warning."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing and asks_for_grid(args):
            Console(stderr=True, soft_wrap=True, highlight=False).print(RENAMED)
            args = as_grid(args)
        rest: list[str] = super().parse_args(ctx, args)
        return rest


def asks_for_grid(args: list[str]) -> bool:
    """Returns True for the old spelling; with --loopback an avatar is measured like any other engine."""
    engines = [arg.removeprefix("--engine=") for arg in args if arg.startswith("--engine=")]
    engines += [value for name, value in pairwise(args) if name == "--engine"]
    return engines == ["lcvd"] and "--loopback" not in args


def as_grid(args: list[str]) -> list[str]:
    """Returns `args` as `relight bench` takes them for its sub-command lcvd."""
    kept = ["lcvd"]
    remaining = iter(args)
    for arg in remaining:
        name, equals, _ = arg.partition("=")
        if arg.startswith("-l") and arg != "-l":
            continue  # its value is in it
        if name not in NOT_OF_THE_GRID:
            kept.append(arg)
        elif not equals:
            next(remaining, None)  # its value
    return kept


bench = typer.Typer(
    name="bench",
    cls=BenchGroup,
    invoke_without_command=True,
)


@bench.callback()
def measure(
    ctx: typer.Context,
    engine: Annotated[str, typer.Option(help=f"Engine: {', '.join(ENGINES)}.")] = "ratio",
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Through a real server and WebRTC on this machine: glass to glass.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to measure, after warming up.")] = 10.0,
    clip: Annotated[Path | None, typer.Option(help="Clip to send; default: the sample portrait, moving.")] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT; default: 640x480, or the clip's own.")] = "",
    sessions: Annotated[int, typer.Option(min=1, max=64, help="Participants side by side.")] = 1,
    light: Annotated[str, typer.Option("--light", "-l", help="Preset of `relight lights`.")] = "rembrandt-left",
    plot: Annotated[Path | None, typer.Option(help="Write the distributions as a PNG.")] = None,
    max_p95_ms: Annotated[
        float | None, typer.Option(help="Exit 1 if p95 (glass to glass, or the whole frame) is above.")
    ] = None,
    json_only: Annotated[bool, typer.Option("--json-only", help="No table, only the JSON line.")] = False,
    codec: Annotated[str, typer.Option(help="vp8 or h264.", rich_help_panel=LOOPBACK)] = "vp8",
    camera_fps: Annotated[float, typer.Option(min=1, max=60, help="Of the camera.", rich_help_panel=LOOPBACK)] = 30.0,
    weights: Annotated[
        str, typer.Option(help="Of LCVD: a name or a folder; auto: the server's own.", rich_help_panel=LOOPBACK)
    ] = "auto",
    pixels: Annotated[int, typer.Option(help="Side of LCVD's avatar; 0: the server's.", rich_help_panel=LOOPBACK)] = 0,
    quality: Annotated[str, typer.Option(help="Of the avatar.", rich_help_panel=LOOPBACK)] = "",
    lip_sync: Annotated[
        bool, typer.Option("--av", help="Lip sync: sound against picture, with delays.", rich_help_panel=LOOPBACK)
    ] = False,
    delays: Annotated[
        str, typer.Option(help="Of the picture, in seconds, with --av.", rich_help_panel=LOOPBACK)
    ] = "0.05,0.5,1,3",
) -> None:
    """Measure an engine alone, or the whole way through WebRTC. The last line of stdout is one JSON document.

    `relight bench lcvd` measures the diffusion engine's grid of backends, precisions, steps and strides instead.
    """
    if ctx.invoked_subcommand is not None:
        refuse_options(ctx)
        return
    from engine import make_engine
    from engine.bench.throughput import bench_engine, pictures
    from lcvd.lighting.presets import preset
    from server.settings import Settings

    if engine not in ENGINES:
        raise typer.BadParameter(
            f"{engine!r} does not exist; choose one of {', '.join(ENGINES)}", param_hint="--engine"
        )
    if codec not in ("vp8", "h264"):
        raise typer.BadParameter(f"codec {codec!r} is unknown; use vp8 or h264", param_hint="--codec")
    if not loopback:
        refuse_loopback_options(ctx)
    check_av_options(ctx, lip_sync)
    delays_s = parse_delays(delays)
    if plot is not None:
        check_plot(plot)
    lighting = preset(light).lighting
    loop = pictures(clip, parse_size(size))
    console = Console(stderr=json_only, quiet=json_only)
    if lip_sync:
        run_av(delays_s, loop, seconds, codec, max_p95_ms, console)
        return
    if loopback:
        from server.rtc.bench.loopback import bench_loopback

        environment = {} if weights == "auto" else {"RELIGHT_LCVD_WEIGHTS": weights}
        if pixels:
            environment["RELIGHT_LCVD_SIZE"] = f"{pixels}"
        result, series = bench_loopback(
            engine,
            light,
            loop,
            seconds,
            sessions,
            codec,
            camera_fps=camera_fps,
            quality=quality,
            environment=environment,
        )
    else:
        result, series = (
            bench_engine(make_engine(engine, Settings().engine_config()), lighting, loop, seconds, sessions),
            [],
        )
    show(result, console)
    if plot is not None:
        draw_plot(result, series, plot)
        console.print(f"[dim]plot:[/] {escape(str(plot))}", highlight=False, soft_wrap=True)
    failed = max_p95_ms is not None and result.limit_ms() > max_p95_ms
    if failed:
        Console(stderr=True).print(f"[bold red]too slow:[/] p95 {result.limit_ms():.1f} ms > {max_p95_ms:g} ms")
    print(json.dumps(result.as_json()), flush=True)
    if failed:
        raise typer.Exit(1)


def refuse_options(ctx: typer.Context) -> None:
    """Raises BadParameter for options in front of a sub-command, which would not read them."""
    for parameter in given_options(ctx):
        hint = " / ".join(parameter.opts)
        raise typer.BadParameter(f"write it after {ctx.invoked_subcommand}, if that has it", param_hint=hint)


def refuse_loopback_options(ctx: typer.Context) -> None:
    """Raises BadParameter for options that only the way through WebRTC reads."""
    for parameter in given_options(ctx):
        if getattr(parameter, "rich_help_panel", None) == LOOPBACK:
            raise typer.BadParameter("it needs --loopback", param_hint=" / ".join(parameter.opts))


def check_av_options(ctx: typer.Context, lip_sync: bool) -> None:
    """Raises BadParameter for options that --av does not read, and for those that only it does."""
    for parameter in given_options(ctx):
        hint = " / ".join(parameter.opts)
        if lip_sync and parameter.name not in OF_AV:
            raise typer.BadParameter("--av does not read it", param_hint=hint)
        if not lip_sync and parameter.name == "delays":
            raise typer.BadParameter("it needs --loopback --av", param_hint=hint)


def given_options(ctx: typer.Context) -> list[Any]:
    """Returns the parameters of the command that were given on the command line."""
    sources = {parameter: ctx.get_parameter_source(parameter.name or "") for parameter in ctx.command.params}
    return [parameter for parameter, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def parse_size(text: str) -> tuple[int, int] | None:
    """Returns (480, 640) for `640x480`, None for empty text. Raises BadParameter."""
    if not text:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()) or not (64 <= int(width) <= 4096 and 64 <= int(height) <= 4096):
        raise typer.BadParameter(f"{text!r} is no size; write WIDTHxHEIGHT, 64 to 4096 each", param_hint="--size")
    return int(height), int(width)


def show(result: "BenchResult", console: Console) -> None:
    """Prints the machine, the table of stages, and the share of the frame budget that was used."""
    from engine.bench.throughput import BUDGET_FPS

    card = result.machine
    console.print(
        f"[bold]relight bench[/]  {result.engine}, {result.mode}, light {result.light}, commit {result.commit}"
    )
    console.print(
        f"[dim]{card['cpu']}, {card['cores']} cores, {card['system']}, Python {card['python']}[/]", highlight=False
    )
    versions = ", ".join(f"{name} {card[name]}" for name in list(card)[4:])
    console.print(f"[dim]{versions}[/]", highlight=False)
    table = Table(
        "stage", "p50 ms", "p95 ms", "p99 ms", title=f"{result.width}x{result.height}, {result.sessions} session(s)"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for name, stage in sorted(result.stages.items(), key=lambda item: -item[1]["p50_ms"]):
        table.add_row(name, *(f"{stage[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms")))
    table.add_section()
    table.add_row(
        "[bold]whole frame[/]",
        *(f"{result.frame_ms[key]:.2f}" if key in result.frame_ms else "" for key in ("p50", "p95", "p99")),
    )
    if result.glass_to_glass_ms is not None:
        table.add_row(
            "[bold]glass to glass[/]", *(f"{result.glass_to_glass_ms[key]:.1f}" for key in ("p50", "p95", "p99"))
        )
    console.print(table)
    budget, cores = 1e3 / BUDGET_FPS, float(card["cores"])
    rate = f"[bold]{result.fps:.1f} fps[/] a session over {result.seconds:.1f} s, {result.frames} frames"
    console.print(f"{rate}, {result.drops} dropped")
    if result.engine_states and set(result.engine_states) != {"ok"}:
        console.print(f"[yellow]the engine was not always ok:[/] {result.engine_states}")
    load = f"CPU {result.cpu_ms_per_frame:.1f} ms a frame, {result.cpu_cores:.2f} of {cores:.0f} cores"
    show_parts(result, console)
    memory = f"RSS {result.rss_mb:.0f} MB"
    if result.rss_growth_mb is not None:
        memory += f" ({result.rss_growth_mb:+.1f} MB since the first minute)"
    console.print(f"{load}, {memory}")
    if result.bytes_sent is not None and result.bytes_received is not None:
        up, down = (8e-6 * n / result.seconds / result.sessions for n in (result.bytes_sent, result.bytes_received))
        console.print(f"network up {up:.2f} Mbit/s, down {down:.2f} Mbit/s a session")
    if result.first_minute_p95_ms is not None and result.last_minute_p95_ms is not None:
        console.print(f"p95 first minute {result.first_minute_p95_ms:.1f} ms, last {result.last_minute_p95_ms:.1f} ms")
    used = result.cpu_ms_per_frame / (budget * cores)
    console.print(f"budget at 30 fps: {budget:.1f} ms x {cores:.0f} cores; a session uses {used:.0%} of it")


def show_parts(result: "BenchResult", console: Console) -> None:
    """Prints where each millisecond of the server's CPU went, a frame of a participant, and the least it could be."""
    if result.cpu_parts_ms is None:
        return
    floor = result.cpu_floor_ms or {}
    table = Table("CPU of the server", "ms a frame", "at least", title="a participant and a frame")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, ms in result.cpu_parts_ms.items():
        table.add_row(name, f"{ms:.2f}", f"{floor[name]:.2f}" if name in floor else "")
    table.add_section()
    table.add_row("[bold]all[/]", f"{result.cpu_ms_per_frame:.2f}", "")
    console.print(table)


def check_plot(path: Path) -> None:
    """Raises BadParameter where no plot can be written to `path`: before the measurement, not after it."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise typer.BadParameter("matplotlib is not installed; pip install matplotlib", param_hint="--plot")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"{path.parent} is no folder", param_hint="--plot")


def draw_plot(result: "BenchResult", series: list[tuple[float, float]], path: Path) -> None:
    """Draws stages as bars (p50, p95 as whisker), and glass to glass over time where it was measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2 if series else 1, figsize=(11 if series else 7, 4), squeeze=False)
    stages = sorted(result.stages.items(), key=lambda item: item[1]["p50_ms"])
    left = axes[0][0]
    middle = [stage["p50_ms"] for _, stage in stages]
    left.barh([name for name, _ in stages], middle, color="#3b6ea8")
    left.hlines(range(len(stages)), middle, [stage["p95_ms"] for _, stage in stages], color="#d98c3f", label="to p95")
    left.set_xlabel("ms (bar: p50)")
    left.legend(frameon=False, loc="lower right")
    left.set_title(f"{result.engine} {result.width}x{result.height}: {result.fps:.1f} fps")
    if series:
        right = axes[0][1]
        right.plot([t for t, _ in series], [1e3 * d for _, d in series], ".", markersize=2, color="#3b6ea8")
        right.set_ylim(bottom=0)
        right.set_xlabel("s")
        right.set_title("glass to glass, ms")
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
