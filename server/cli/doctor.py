"""`relight doctor` lists what is installed, which engines can run here, and why the others cannot."""

import importlib.metadata
import importlib.util
import os
import platform
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

# What each optional package is for; the base packages are always there.
OPTIONAL = {
    "mediapipe": ("the tracker mediapipe", "pip install -e '.[mediapipe]'"),
    "torch": ("LCVD", "pip install -e '.[lcvd]'"),
    "diffusers": ("LCVD", "pip install -e '.[lcvd]'"),
    "tensorrt": ("LCVD compiled", "pip install -e '.[tensorrt]'"),
    "torch-tensorrt": ("LCVD compiled", "pip install -e '.[tensorrt]'"),
    "pytorch3d": ("DECA hints on the GPU", "build from source; without it the numba rasteriser runs"),
    "decalib": ("DECA tracker", "install the authors' code; without it the MediaPipe mesh runs"),
    "ray": ("several workers (serve --workers)", "pip install -e '.[cluster]'"),
    "matplotlib": ("bench --plot", "pip install matplotlib"),
    "pyvirtualcam": ("camera, to a virtual camera", "pip install -e '.[camera]'"),
}
BASE = (
    "relight-live",
    "numpy",
    "numba",
    "opencv-python-headless",
    "ai-edge-litert",
    "av",
    "aiortc",
    "fastapi",
    "uvicorn",
    "websockets",
)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def doctor(
    download: Annotated[bool, typer.Option("--download", help="Fetch missing tracking models now.")] = False,
    capacity: Annotated[
        bool, typer.Option("--capacity", help="Measure how many participants this machine holds: up to a minute.")
    ] = False,
) -> None:
    """Print what is installed, which engines can run, and why the others cannot. Exits 1 when none can relight."""
    from engine import available_engines
    from engine.trackers import TRACKERS, tracker_maker
    from lcvd.errors import ModelUnavailable
    from lcvd.tracking.models import MODELS, model_path
    from server.camera.inspection import inspect_cameras
    from server.rtc.pictures import hardware
    from server.settings import Settings

    console = Console()
    console.print(
        f"Python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores", highlight=False
    )
    packages = Table("package", "version", "for", "to install", box=None, pad_edge=False)
    for name in BASE:
        packages.add_row(name, _version(name) or "[red]missing[/]", "base", "" if _version(name) else "make serve")
    for name, (use, remedy) in OPTIONAL.items():
        found = _version(name)
        packages.add_row(name, found or "[dim]–[/]", use, "" if found else f"[dim]{escape(remedy)}[/]")
    console.print(packages)
    console.print()

    models = Table("model", Column("where", overflow="fold"), box=None, pad_edge=False)
    for name in (*MODELS, "selfie_multiclass"):  # the last: the CPU engine is whole without it, and better with it
        try:
            models.add_row(name, str(model_path(name, download=download)))
        except ModelUnavailable as error:
            models.add_row(name, f"[yellow]not here yet:[/] {escape(error.hint or error.message)}")
    console.print(models)
    console.print()

    trackers = Table("tracker", "", "why", box=None, pad_edge=False)
    for tracker in TRACKERS:
        try:
            tracker_maker(tracker, Settings().models_dir, download)().close()
            trackers.add_row(tracker, "[green]ready[/]", "")
        except ModelUnavailable as error:
            trackers.add_row(tracker, "[yellow]cannot run[/]", escape(f"{error.message}; {error.hint}"))
    console.print(trackers)
    console.print()

    cameras = Table("camera", "", Column("", overflow="fold"), box=None, pad_edge=False)
    for finding in inspect_cameras():
        state = "[green]ready[/]" if finding.ready else "[dim]–[/]"
        cameras.add_row(escape(finding.what), state, escape(finding.remark))
    console.print(cameras)
    console.print()

    encoders = Table("encoder", "", Column("why", overflow="fold"), box=None, pad_edge=False)
    for name in hardware.HARDWARE:
        try:
            hardware.check(name)
            encoders.add_row(name, "[green]ready[/]", "H.264 by the graphics hardware")
        except hardware.Unfit as unfit:
            encoders.add_row(name, "[dim]–[/]", escape(str(unfit)))
    console.print(encoders)
    console.print()

    engines = Table("engine", "", "why", box=None, pad_edge=False)
    for info in available_engines():
        engines.add_row(
            info.name,
            "[green]ready[/]" if info.available else "[yellow]cannot run[/]",
            escape(info.reason or info.title),
        )
    console.print(engines)
    if capacity:
        console.print()
        console.print(_capacity())
    if not any(info.available and info.name != "passthrough" for info in available_engines()):
        raise typer.Exit(1)


def _capacity() -> Table:
    """Returns how many participants this machine holds on the engine `ratio`, by size, as the server measures it."""
    from engine import make_engine
    from server.rtc.bench.frame_cost import measure
    from server.session.capacity import Capacity
    from server.settings import Settings

    settings = Settings()
    engine = make_engine("ratio", settings.engine_config())
    try:
        engine.warmup()
        held = Capacity(measure(engine, settings.cores))
    finally:
        engine.close()
    table = Table("capacity", "participants at 30 fps", "ms of CPU a picture", box=None, pad_edge=False)
    for cap, places in held.by_cap.items():
        table.add_row(cap.size, str(places), f"{held.cpu_s(cap.pixels) * 1e3:.0f}")
    return table
