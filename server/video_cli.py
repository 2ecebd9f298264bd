"""`relight video`: a clip file in, a relit clip file out."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def video(
    source: Annotated[Path, typer.Argument(help="Clip to relight: anything ffmpeg plays.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .mp4, .mov or .mkv.")],
    light: Annotated[
        str, typer.Option("--light", "-l", help="Preset of `relight lights`, or a .json, .hdr, .exr or face photo.")
    ] = "rembrandt-left",
    strength: Annotated[float, typer.Option(min=0.0, max=1.0, help="0 keeps the original, 1 relights fully.")] = 1.0,
    background: Annotated[str, typer.Option(help="keep, dim or lit; default: what the light asks for.")] = "",
    engine: Annotated[str, typer.Option(help="Engine: ratio (CPU) or passthrough.")] = "ratio",
    compare: Annotated[bool, typer.Option("--compare", help="Write original and result side by side.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-y", help="Replace an existing output.")] = False,
) -> None:
    """Relight a clip offline with the engine of the live server; sound is kept."""
    from dataclasses import replace

    from engine import make_engine
    from engine.clip import ClipReader
    from engine.errors import ClipError
    from engine.offline import relight_clip
    from lcvd.errors import LightError
    from server.light_argument import lighting_from_argument

    if output.exists() and not overwrite:
        raise ClipError(f"{output}: exists already", "add --overwrite, or name another file")
    if output.resolve() == source.resolve():
        raise ClipError(f"{output}: is the source itself", "name another file")
    lighting = (
        replace(lighting_from_argument(light), strength=strength)
        if light != "original"
        else lighting_from_argument(light)
    )
    if background:
        if background not in ("keep", "dim", "lit"):
            raise LightError(f"background {background!r} is unknown", "use keep, dim or lit")
        lighting = replace(lighting, background=replace(lighting.background, mode=background))
    with ClipReader(source) as reader:
        info = reader.info
    total = info.frames or (round(info.duration_s * float(info.fps)) if info.duration_s else None)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    made = make_engine(engine)
    try:
        with console.status("warming up"):
            made.warmup()
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(f"{light}", total=total, rate="")

            def show(done: int) -> None:
                speed = progress.tasks[0].speed
                progress.update(task, completed=done, rate=f"{speed:.0f} fps" if speed else "")

            written = relight_clip(made, lighting, source, output, compare, show)
            progress.update(task, completed=written, total=written)
    finally:
        made.close()
    sound = "with sound" if info.has_audio else "no sound in the source"
    console.print(
        f"{output}: {written} frames, {info.width}x{info.height} at {float(info.fps):.2f} fps, {sound}", highlight=False
    )
