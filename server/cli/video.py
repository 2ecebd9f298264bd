"""`relight video` turns a clip file into a relit clip file, by the CPU engine or by LCVD."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from engine import ENGINES
from engine.errors import ClipError, PortraitError, UnknownEngine
from engine.offline.clip_writer import SUFFIXES
from engine.offline.finished_clip import FinishedClip
from engine.offline.options import PortraitOptions
from engine.offline.output_file import check_output
from engine.offline.video_file import ClipInfo, ClipReader
from lcvd.errors import LightError
from lcvd.types import Lighting
from lcvd.weights.shipped_plan import shipped_plan
from server.cli.arguments.input_file import read_input
from server.cli.plain import print_plain
from server.cli.weights import DEFAULT_NAME

NO_FACE = 3  # exit status of a clip that was written, but in which no face was found
LONGEST_NAME = 200  # bytes of a name that another is made from; file systems take 255
LCVD = "Diffusion (--engine lcvd)"
COLUMNS = (
    TextColumn("{task.description:>12}", markup=False),  # a light may be a file, and its name hold square brackets
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[rate]}", markup=False),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


def video(
    source: Annotated[Path, typer.Argument(help="Clip to relight: anything ffmpeg plays.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .mp4, .mov or .mkv.")],
    light: Annotated[
        str, typer.Option("--light", "-l", help="Preset of `relight lights`, or a .json, .hdr, .exr or face photo.")
    ] = "rembrandt-left",
    strength: Annotated[float, typer.Option(min=0.0, max=1.0, help="0 keeps the original, 1 relights fully.")] = 1.0,
    background: Annotated[str, typer.Option(help="keep, dim or lit; default: what the light asks for.")] = "",
    engine: Annotated[str, typer.Option(help=f"Engine: {', '.join(ENGINES)}.")] = "ratio",
    compare: Annotated[bool, typer.Option("--compare", help="Write source and result side by side.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-y", help="Replace an existing output.")] = False,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Portrait to animate, also by --engine avatar; without one LCVD takes the clip's own first face.",
            rich_help_panel=LCVD,
        ),
    ] = None,
    weights: Annotated[str, typer.Option(help="Weights folder or name.", rich_help_panel=LCVD)] = DEFAULT_NAME,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=999, help="Denoising steps. Default: the weights'.", rich_help_panel=LCVD),
    ] = None,
    omega: Annotated[
        float | None,
        typer.Option(help="Guidance: more follows the light more. Default: the weights'.", rich_help_panel=LCVD),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the result in px. Default: the weights'.", rich_help_panel=LCVD)
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="euler (as released) or ddim (the paper).", rich_help_panel=LCVD)
    ] = "euler",
    motion: Annotated[
        str, typer.Option(help="relative, first (as published), scale, or driver (same person).", rich_help_panel=LCVD)
    ] = "relative",
    seed: Annotated[int, typer.Option(help="The same seed gives the same clip.", rich_help_panel=LCVD)] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.", rich_help_panel=LCVD)] = "cpu",
    dtype: Annotated[str, typer.Option(help="fp32, bf16 or fp16.", rich_help_panel=LCVD)] = "fp32",
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Guidance branches one after the other.", rich_help_panel=LCVD)
    ] = False,
    released_reference: Annotated[
        bool,
        typer.Option(
            "--released-reference",
            help="Cut the portrait to 8 bit as the released script does, to compare with it.",
            rich_help_panel=LCVD,
        ),
    ] = False,
    deca: Annotated[Path | None, typer.Option(help="Folder with DECA and FLAME.", rich_help_panel=LCVD)] = None,
    u2net: Annotated[Path | None, typer.Option(help="u2net_human_seg.pth.", rich_help_panel=LCVD)] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Where an interrupted run is kept; default: beside the output.", rich_help_panel=LCVD),
    ] = None,
) -> None:
    """Relight a clip offline; sound is kept. LCVD animates and relights a portrait with the clip as its driver.

    Exit status 3: written, but no face was found (docs/video.md).
    """
    if engine not in ENGINES:
        raise UnknownEngine(f"engine {engine!r} does not exist", f"one of {', '.join(ENGINES)}")
    if output.suffix.lower() not in SUFFIXES:  # before hours of work rather than after
        raise ClipError(f"{output}: unknown kind of file", f"name a file ending in {', '.join(SUFFIXES)}")
    if os.path.exists(output) and not overwrite:  # Path.exists raises on a name that is too long
        check_output(output, source)
        raise ClipError(f"{output}: exists already", "add --overwrite, or name another file")
    check_output(output, source)
    with ClipReader(source) as reader:
        info = reader.info
    lighting = _lighting(light, strength, background)
    console = Console(stderr=True, emoji=False)  # in names of lights too
    if engine == "lcvd":
        if background:
            raise PortraitError("--background: LCVD keeps the reference's background", "leave it out")
        plan = shipped_plan(weights)
        options = PortraitOptions(
            size=plan.size if size is None else size,
            steps=plan.steps if steps is None else steps,
            omega=plan.omega if omega is None else omega,
            sampler=sampler,  # type: ignore[arg-type]
            seed=seed,
            motion=motion,  # type: ignore[arg-type]
            dtype=dtype,
            device=device,
            batched=not low_memory,
            released_reference=released_reference,
            deca_dir=deca,
            u2net=u2net,
        )
        if warning := plan.warning(weights, options.omega):
            print_plain(console, f"warning: {warning}")
        folder = state or _state_folder(output)
        clip = _portrait(weights, reference, source, output, lighting, options, folder, compare, console)
    else:
        clip = _relit(engine, lighting, source, output, light, info, compare, console, reference)
    _report(output, clip, engine, console)
    if engine != "passthrough" and not clip.faces:
        raise typer.Exit(NO_FACE)


def _state_folder(output: Path) -> Path:
    """Returns the folder beside `output` that keeps an interrupted run: the same for the same output."""
    name = output.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return output.with_name(f".{name}.lcvd")


def _report(output: Path, clip: FinishedClip, engine: str, console: Console) -> None:
    """Prints what was written, what was left out or mended, and how many frames show a face."""
    sound = {0: "no sound in the source", 1: "with sound"}.get(clip.sounds, f"with {clip.sounds} sound tracks")
    size = f"{clip.width}x{clip.height} at {clip.fps:.2f} fps"
    lines = [f"{output}: {clip.frames} frames, {size}, {sound}", *(f"note: {note}" for note in clip.notes)]
    if engine != "passthrough":  # which looks for none
        without = "the portrait was not moved" if ENGINES[engine].shows_avatar else "nothing was relit"
        lines.append(f"a face was found in {clip.faces} of {clip.frames} frames{'' if clip.faces else f': {without}'}")
    for line in lines:
        print_plain(console, line)


def _lighting(light: str, strength: float, background: str) -> Lighting:
    from server.cli.arguments.light import lighting_from_argument

    lighting = lighting_from_argument(light)
    if light != "original":
        lighting = replace(lighting, strength=strength)
    if not background:
        return lighting
    modes: dict[str, Literal["keep", "dim", "lit"]] = {"keep": "keep", "dim": "dim", "lit": "lit"}
    if background not in modes:
        raise LightError(f"background {background!r} is unknown", "use keep, dim or lit")
    return replace(lighting, background=replace(lighting.background, mode=modes[background]))


def _relit(
    engine: str,
    lighting: Lighting,
    source: Path,
    output: Path,
    title: str,
    info: ClipInfo,
    compare: bool,
    console: Console,
    reference: Path | None,
) -> FinishedClip:
    """Relights the clip with an engine that shows frame after frame."""
    from engine import make_engine
    from engine.offline.relight_clip import relight_clip
    from engine.protocols import Avatar
    from server.settings import Settings

    total = info.frames or (round(info.duration_s * float(info.fps)) if info.duration_s else None)
    made = make_engine(engine, Settings().engine_config())
    avatar = None
    if made.traits.shows_avatar:
        if reference is None:
            raise PortraitError(f"engine {engine} animates a portrait", "add --reference PORTRAIT")
        avatar = Avatar(_portrait_rgb(reference, 4 * (made.traits.output_size or (512,))[0]))
    try:
        with console.status("warming up"):
            made.warmup()
        with Progress(*COLUMNS, console=console) as progress:
            task = progress.add_task(title, total=total, rate="")

            def show(done: int) -> None:
                speed = progress.tasks[0].speed
                progress.update(task, completed=done, rate=f"{speed:.0f} fps" if speed else "")

            clip = relight_clip(made, lighting, source, output, compare, show, avatar)
            progress.update(task, completed=clip.frames, total=clip.frames)
    finally:
        made.close()
    return clip


def _portrait(
    weights: str,
    reference: Path | None,
    source: Path,
    output: Path,
    lighting: Lighting,
    options: PortraitOptions,
    state: Path,
    compare: bool,
    console: Console,
) -> FinishedClip:
    import importlib.util

    from engine.offline.animate_clip import animate_clip, discard_state, has_progress
    from lcvd.errors import ModelUnavailable

    for package in ("torch", "diffusers", "transformers", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise ModelUnavailable(f"engine lcvd needs {package}", "pip install -e '.[lcvd]'")
    portrait = None if reference is None else _portrait_rgb(reference, 4 * options.size)

    def say(note: str) -> None:
        print_plain(console, note)

    with Progress(*COLUMNS, console=console) as progress:
        tasks = {
            name: progress.add_task(name, total=None, rate="", start=False) for name in ("hints", "denoise", "decode")
        }

        def show(stage: str, done: int, total: int | None) -> None:
            progress.start_task(tasks[stage])
            progress.update(tasks[stage], completed=done, total=total)

        try:
            clip = animate_clip(weights, portrait, source, output, lighting, options, state, compare, show, say)
        except BaseException:
            if has_progress(state):
                say(f"{state} keeps what was done; the command it was done with goes on from there.")
            else:
                discard_state(state)
            raise
    discard_state(state)
    return clip


def _portrait_rgb(path: Path, max_side: int) -> NDArray[np.uint8]:
    """Returns the portrait [H,W,3] of a picture file. Raises PortraitError, ImageError, BadUpload."""
    from server.http.uploads import open_photo
    from server.settings import Settings

    settings = Settings()
    data = read_input(path, settings.max_upload_bytes, PortraitError)
    rgb, _ = open_photo(data, path.name, settings.max_image_pixels, max_side)
    return rgb
