"""The console command `relight`: wires the sub-commands; each imports what it needs when it is called."""

import errno
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from engine import ENGINES
from server.cli.bench import bench
from server.cli.bench_lcvd import lcvd
from server.cli.bench_viewers import viewers
from server.cli.camera import camera
from server.cli.data import data
from server.cli.distill import distill
from server.cli.doctor import doctor
from server.cli.drain import drain
from server.cli.engine import engine
from server.cli.evaluate import evaluate
from server.cli.extension import extension
from server.cli.lights import lights
from server.cli.nano import nano
from server.cli.surface import surface
from server.cli.token import token
from server.cli.train import train
from server.cli.video import video
from server.cli.weights import weights
from server.errors import WorkersUnavailable
from server.settings import TRACEBACK

if TYPE_CHECKING:
    from server.http.serve import Service
    from server.settings import Settings

CLUSTER = "pip install -e '.[cluster]'"

OS_REMEDIES = {
    errno.ENOSPC: "free some disk, or name another folder",
    errno.EACCES: "choose a place that you may use",
    errno.EROFS: "choose a folder that can be written",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
}

app = typer.Typer(
    name="relight",
    help="Light people in video calls, live. Start with [bold]relight serve[/] and open the page it prints.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def serve(
    key: Annotated[str | None, typer.Argument(help="Second part of --tls CERT KEY.", show_default=False)] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: loopback only.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="TCP port; 0 picks a free one. Default: 8080.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help=f"Engine a session starts with: {', '.join(ENGINES)}.")] = None,
    max_sessions: Annotated[int | None, typer.Option(min=1, help="Participants admitted at once.")] = None,
    workers: Annotated[
        str | None, typer.Option(help="Processes that relight: a number, auto, or ray://HOST:PORT. Default: this one.")
    ] = None,
    models: Annotated[Path | None, typer.Option(help="Folder that holds the tracking models already.")] = None,
    weights: Annotated[str | None, typer.Option(help="LCVD's weights: a folder, or a name known to `weights`.")] = None,
    backend: Annotated[str | None, typer.Option(help="What LCVD's networks run on. Default: auto.")] = None,
    private: Annotated[
        bool | None, typer.Option("--private", help="Everyone needs a link that expires; yours is printed.")
    ] = None,
    open: Annotated[bool | None, typer.Option("--open", help="Beyond loopback, admit everyone.")] = None,
    tls: Annotated[
        str | None, typer.Option(help="self-signed, or CERT KEY: a certificate chain and its key, PEM.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Serve the page, the API and the live picture. Options override RELIGHT_* environment variables."""
    from server.http.serve import run

    if key is not None and tls is None:
        raise typer.BadParameter(f"{key!r} is not expected: only --tls CERT KEY has a second part")
    given = {
        "host": host,
        "port": port,
        "engine": engine,
        "max_sessions": max_sessions,
        "workers": workers,
        "models_dir": models,
        "lcvd_weights": weights,
        "lcvd_backend": backend,
        "private": private,
        "open": open,
        "tls": None if tls is None else [part for part in (tls, key) if part is not None],
        "log_level": log_level,
    }
    raise typer.Exit(run({name: value for name, value in given.items() if value is not None}, front=_front))


def _front(settings: "Settings") -> "Service":
    """Returns the front of several workers; its packages are an extra."""
    try:
        from server.cluster.service import front_service
    except ImportError as error:
        raise WorkersUnavailable(f"{error.name} is not installed, and --workers needs it", CLUSTER) from error
    return front_service(settings)


app.command()(camera)
app.command()(video)
app.command()(train)
app.command()(distill)
app.command()(nano)
app.command()(evaluate)
app.command()(lights)
app.command()(doctor)
app.command()(extension)
app.command()(token)
app.command()(drain)
bench.command()(lcvd)
bench.command()(viewers)
app.add_typer(bench)
app.add_typer(weights)
app.add_typer(engine)
app.add_typer(data)
app.add_typer(surface)


def fail(message: str, hint: str = "") -> NoReturn:
    """Ends the command with what is wrong, what to do, and exit status 2. Every error of ours passes here."""
    console = Console(stderr=True, emoji=False)  # a path may hold a name of one between colons
    console.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    if hint:
        console.print(f"[dim]try:[/] {escape(hint)}", highlight=False, soft_wrap=True)
    raise SystemExit(2)


def main() -> None:
    """Runs the console command and turns this project's errors into exit status 2."""
    from engine.errors import EngineError
    from lcvd.errors import LcvdError
    from server.errors import ServerError

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # diffusers imports it wherever it lies, and it then misses kernels that nothing here asks for
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        app()
    except (EngineError, LcvdError, ServerError) as error:
        fail(error.message, error.hint)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        _unforeseen(error)


def _unforeseen(error: Exception) -> NoReturn:
    """Ends the command on an error that nothing foresaw: in a sentence, the traceback only where it is asked for."""
    if os.environ.get(TRACEBACK) == "1":
        raise error
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        fail(f"{place}{error.strerror}", OS_REMEDIES.get(error.errno or 0, "check the path, and who may use it"))
    reason = (str(error).strip().splitlines() or [""])[0][:300]
    fail(
        f"{type(error).__name__}{f': {reason}' if reason else ''}",
        f"this is a fault of relight-live: run the same with {TRACEBACK}=1 to see where, and report it",
    )


if __name__ == "__main__":
    main()
