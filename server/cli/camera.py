"""`relight camera` relights a local webcam in this process, for a virtual camera, a pipe or a file."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from engine import ENGINES
from server.errors import CameraError

if TYPE_CHECKING:
    from engine.live.controls import EnginePair
    from server.camera.control import CameraControl
    from server.camera.pipeline import Pipeline, Written
    from server.camera.sources import Source
    from server.session.engines import Engines

STATUS_S = 1.0  # of the line in a terminal; elsewhere LOG_S
LOG_S = 10.0


def camera(
    camera: Annotated[
        str,
        typer.Option("--camera", "-c", help="Name, index or /dev/videoN of a camera, or a clip. Default: the first."),
    ] = "",
    to: Annotated[
        str, typer.Option(help="camera (the virtual one), /dev/videoN of it, y4m:- (a pipe), y4m:FILE, or FILE.mkv.")
    ] = "camera",
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT. Default: 640x480; of a clip its own.")] = "",
    fps: Annotated[float | None, typer.Option(min=1, max=120, help="Pictures a second. Default: the camera's.")] = None,
    engine: Annotated[str, typer.Option(help=f"Engine: {', '.join(ENGINES)}.")] = "ratio",
    reference: Annotated[Path | None, typer.Option(help="Portrait that an avatar engine animates.")] = None,
    light: Annotated[
        str, typer.Option("--light", "-l", help="Preset of `relight lights`, or a .json, .hdr, .exr or face photo.")
    ] = "rembrandt-left",
    strength: Annotated[float, typer.Option(min=0.0, max=1.0, help="0 keeps the picture, 1 relights fully.")] = 1.0,
    background: Annotated[str, typer.Option(help="auto (what the light asks for), keep, dim or lit.")] = "auto",
    mirror: Annotated[bool, typer.Option("--mirror", help="Swap left and right.")] = False,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the control page on this machine.")] = True,
    seconds: Annotated[float | None, typer.Option(min=0.01, help="End after so much output.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="End after so many pictures.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-y", help="Replace an existing file.")] = False,
    list_cameras: Annotated[bool, typer.Option("--list", help="List cameras and their modes, and end.")] = False,
) -> None:
    """Relight a webcam for any program that takes a camera. Sound is not touched: delay it as printed."""
    if list_cameras:
        _list()
        return
    from server.camera.control import CameraControl
    from server.camera.pipeline import Limits, Pipeline
    from server.camera.sinks import ReaderGone, make_sink

    stop = threading.Event()
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    limits = Limits(
        _size(size), fps=Fraction(fps).limit_denominator(1001) if fps else None, frames=frames, seconds=seconds
    )
    server = _server(engine)
    requested, own = _requested(engine, light, strength, background, mirror, reference, server.settings)
    open_source, limits = _source(camera, limits, stop)
    with _signals(stop.set):
        try:
            sink = make_sink(to, overwrite, stop, camera)
        except ReaderGone:
            return
        try:
            if sink.live_before_camera:
                sink.open(*limits.shape_before_camera)
            pair = _warm(server.engines, engine, reference is not None, console, stop)
            if pair is None:
                return
            control = CameraControl(requested, own)
            pipeline = Pipeline(requested.controls(pair), open_source, sink, stop, limits)
            control.attach(pipeline.live)
            with _page(server, control, pipeline, console, page), _shown(control, pipeline, stop, console):
                written = pipeline.run()
            console.print(_summary(written))
        finally:
            sink.close()
            _free(server.engines)


def _size(text: str) -> tuple[int, int] | None:
    """Returns width and height of "640x480". Raises CameraError."""
    if not text:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 16 <= int(width) <= 4096 and 16 <= int(height) <= 4096):
        raise CameraError(f"size={text!r} is no size", "WIDTHxHEIGHT in px, 16 to 4096 each, as in 640x480")
    return int(width), int(height)


def _source(text: str, limits: Any, stop: threading.Event) -> "tuple[Callable[[], Source], Any]":
    """Returns what opens the camera or clip `text`, and `limits` with what a clip says. Raises CameraError."""
    from server.camera.devices import find_camera
    from server.camera.sources import CameraSource, ClipSource, tidy_rate

    path = Path(text)
    if text and not text.startswith("/dev/") and (path.is_file() or path.suffix.lower() in (".mp4", ".mkv", ".mov")):
        from engine.offline.video_file import ClipReader

        with ClipReader(path) as reader:  # raises where it is no clip
            info = reader.info
        rate = limits.fps or tidy_rate(info.fps)
        own = info.width, info.height
        return partial(ClipSource, path, limits.size, stop), replace(limits, camera_size=own, fps=rate)
    found = find_camera(text)

    def open_camera() -> "Source":
        # Looked for again: after it was unplugged it may come back at another address.
        now = found if Path(found.address).exists() or not found.address.startswith("/dev/") else _again(found.name)
        return CameraSource(now or found, limits.size, limits.fps)

    return open_camera, limits


def _again(name: str) -> Any:
    from server.camera.devices import list_cameras

    return next((each for each in list_cameras() if each.name == name), None)


def _server(engine: str) -> Any:
    """Returns the engines and settings of this process, as `relight serve` has them. Raises CameraError."""
    from pydantic import ValidationError

    from engine.errors import UnknownEngine
    from server.session.state import Server
    from server.settings import Settings

    if engine not in ENGINES:
        raise UnknownEngine(f"engine {engine!r} does not exist", f"one of {', '.join(ENGINES)}")
    try:
        # The page is this machine's own, whomever the variables of `relight serve` admit to that.
        return Server(Settings(host="127.0.0.1", port=0, engine=engine, token=[], allowed_origins=[]))
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(("RELIGHT", *(str(part) for part in first["loc"]))).upper()
        raise CameraError(
            f"{name} = {first.get('input')!r}: {first['msg']}", "docs/settings.md has the settings"
        ) from None


def _requested(
    engine: str, light: str, strength: float, background: str, mirror: bool, reference: Path | None, settings: Any
) -> Any:
    """Returns the settings to begin with, and the light where it is no preset. Raises CameraError, LcvdError."""
    from engine.errors import PortraitError
    from lcvd.lighting.presets import PRESETS
    from server.camera.control import BACKGROUNDS
    from server.cli.arguments.input_file import read_input
    from server.cli.arguments.light import lighting_from_argument
    from server.http.uploads import portrait_of
    from server.light_message import RequestedLight
    from server.protocol import SetBackground
    from server.session.requested import Requested

    if background not in BACKGROUNDS:
        raise CameraError(f"background={background!r} is unknown", f"use {', '.join(BACKGROUNDS)}")
    if ENGINES[engine].shows_avatar and reference is None:
        raise PortraitError(f"engine {engine} animates a portrait", "add --reference PORTRAIT")
    if reference is not None and not ENGINES[engine].shows_avatar:
        raise CameraError(f"reference={reference}: engine {engine} shows the camera, not a portrait", "--engine avatar")
    lighting = lighting_from_argument(light)
    own = None if any(each.lighting is lighting for each in PRESETS) else lighting
    requested = Requested(engine, RequestedLight(lighting, strength=strength), mirror=mirror)
    requested = requested.changed_by(SetBackground(type="set_background", mode=background))  # type: ignore[arg-type]
    if reference is not None:
        portrait = portrait_of(
            read_input(reference, settings.max_upload_bytes, PortraitError), reference.name, settings
        )
        requested = requested.with_portrait(portrait.rgb, portrait.placeholder)
    return requested, own


def _warm(
    engines: "Engines", name: str, portrait: bool, console: Console, stop: threading.Event
) -> "EnginePair | None":
    """Returns the engine once it is warm; None where the end was asked for. Raises why it cannot run."""
    pair = engines.run(name, portrait).engine
    device: Any = pair.device
    console.print(f"[dim]warming up engine {name} …[/]")
    deadline_s = time.monotonic() + device.traits.warmup_limit_s
    while not device.wait_ready(0.1):
        if stop.is_set():
            return None
        if device.error is not None:
            raise device.error
        if time.monotonic() > deadline_s:
            raise CameraError(
                f"engine {name} is not ready after {device.traits.warmup_limit_s:.0f} s", "relight doctor"
            )
    return pair


def _free(engines: "Engines") -> None:
    """Frees the engines, but does not wait for one that hangs."""
    freeing = threading.Thread(target=engines.close, name="relight-free", daemon=True)
    freeing.start()
    freeing.join(1.0)


@contextmanager
def _signals(end: Callable[[], None]) -> Iterator[None]:
    """Calls `end` on SIGINT and SIGTERM, so that files are finished and the camera's lamp goes out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: end()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _page(
    server: Any, control: "CameraControl", pipeline: "Pipeline", console: Console, wanted: bool
) -> Iterator[None]:
    """Serves the control page, where it is wanted, and prints its address."""
    if not wanted:
        yield
        return
    from server.camera.page import ControlPage

    page = ControlPage(server, control, pipeline)
    page.start()
    console.print(f"lights: [bold]{page.url}[/]")
    try:
        yield
    finally:
        page.close()


@contextmanager
def _shown(control: "CameraControl", pipeline: "Pipeline", stop: threading.Event, console: Console) -> Iterator[None]:
    """Reads keys and prints the state while the camera runs, all of it on standard error."""
    from server.camera import keys

    over = threading.Event()
    with keys.listening(control, stop) as listening:
        if listening:
            console.print(f"[dim]{escape(keys.HELP)}[/]")
        threading.Thread(target=_print_status, args=(control, pipeline, over, console), daemon=True).start()
        try:
            yield
        finally:
            over.set()
            if console.is_terminal:
                sys.stderr.write("\n")


def _print_status(control: "CameraControl", pipeline: "Pipeline", over: threading.Event, console: Console) -> None:
    """Prints the numbers, in a terminal over and over in one line, and a trouble once."""
    told, wait_s = "", STATUS_S
    while not over.wait(wait_s):
        wait_s = STATUS_S if console.is_terminal else LOG_S
        status, state = pipeline.status(), control.state()
        if status["trouble"] and status["trouble"] != told:
            console.print(f"[yellow]{escape(status['trouble'])}[/]; {escape(status['hint'])}")
        told = status["trouble"]
        line = " · ".join(
            (
                "before" if state["before"] else state["light"],
                f"strength {100 * state['strength']:.0f} %",
                f"{status['fps']:.1f} fps",
                f"delay {status['delay_ms']['p50']:.0f} ms",
                status["engine"]["message"] or f"camera {status['camera']}",
            )
        )
        if console.is_terminal:
            sys.stderr.write(f"\r\x1b[2K{line[: console.width - 1]}")
            sys.stderr.flush()
        else:
            console.print(line, markup=False)


def _summary(written: "Written") -> str:
    """Returns what was done, with the delay that sound needs."""
    from engine.stats import percentiles_ms

    p50, p95, _ = percentiles_ms(list(written.delays_s))
    rate = (written.frames - 1) / written.took_s if written.took_s else 0.0
    return (
        f"{written.frames} pictures, {rate:.1f} fps ({written.repeated} repeated, {written.dropped} left out); "
        f"delay p50 {p50:.0f} ms, p95 {p95:.0f} ms: the offset for sound"
    )


def _list() -> None:
    """Prints the cameras and their modes."""
    from server.camera.devices import list_cameras

    console = Console(highlight=False, soft_wrap=True)
    found = list_cameras()
    if not found:
        console.print("no camera was found; a clip will do: relight camera --camera clip.mp4 --to y4m:- | ffplay -i -")
    for each in found:
        name = escape(each.name) + " (virtual)" * each.virtual
        console.print(f"[bold]{each.index}[/] {name}  [dim]{escape(each.address)}[/]")
        for mode in each.modes:
            rates = ", ".join(f"{rate:g}" for rate in mode.fps)
            console.print(f"    {mode.width}x{mode.height}  {mode.fourcc}  {rates} fps")
