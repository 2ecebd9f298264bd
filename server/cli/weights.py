"""`relight weights` fetches, shows, converts and verifies LCVD's weights, or writes a tiny random model.

Weights are a folder, or a name under the user's weights folder; `relight video --weights` takes the same.
"""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from server.cli.plain import print_plain

weights = typer.Typer(name="weights", help="LCVD's weights: fetch, show, convert, verify.", no_args_is_help=True)

Where = Annotated[str, typer.Argument(help="Folder, or a name under the user's weights folder.")]
Svd = Annotated[Path | None, typer.Option(help="Stable Video Diffusion folder, when it is kept elsewhere.")]
# Not plain "lcvd": in a checkout that is the package, and a folder that exists wins over a name.
DEFAULT_NAME = "lcvd-published"


@weights.command()
def fetch(
    to: Annotated[Path | None, typer.Option(help="Folder to download into. Default: the name lcvd-published.")] = None,
    temporal_vae: Annotated[bool, typer.Option("--temporal-vae", help="SVD's temporal decoder as well.")] = False,
    tracker: Annotated[bool, typer.Option("--tracker", help="The authors' DECA, FLAME and matting files too.")] = False,
    revision: Annotated[
        list[str] | None, typer.Option(help="REPOSITORY=COMMIT pins a repository; repeat for more.")
    ] = None,
    accept_licences: Annotated[
        bool, typer.Option("--accept-licences", help="I have read the licences shown and accept them.")
    ] = False,
) -> None:
    """Download the published weights (about 9 GB) from Hugging Face; an interrupted download goes on."""
    _need_torch()
    from lcvd.errors import WeightsError
    from lcvd.weights.fetch import LICENCE_NOTICE
    from lcvd.weights.fetch import fetch as download
    from lcvd.weights.load import weights_home

    console = Console(stderr=True)
    print_plain(console, LICENCE_NOTICE)
    if not accept_licences and not (console.is_terminal and typer.confirm("Accept these licences?", err=True)):
        raise WeightsError("the licences were not accepted; nothing was downloaded", "add --accept-licences")
    pins = {}
    for entry in revision or []:
        repo, sign, pin = entry.partition("=")
        if not (repo and sign and pin):
            raise WeightsError(f"--revision {entry!r}: expected REPOSITORY=COMMIT")
        pins[repo] = pin
    target = to or weights_home() / DEFAULT_NAME
    download(target, temporal_vae, tracker, pins, on_repo=lambda repo: print_plain(console, repo))
    print_plain(console, f"{target}: complete. Check it with: relight weights verify {target}")


@weights.command()
def show(
    where: Annotated[str, typer.Argument(help="Folder or name; without it, the names there are.")] = "",
    svd: Svd = None,
) -> None:
    """Print what a folder holds: parts, parameters, files, sizes."""
    _need_torch()
    from lcvd.weights.convert import describe
    from lcvd.weights.load import find_weights
    from lcvd.weights.location import PACKAGED, weights_folder, weights_home, weights_names

    console = Console()
    if not where:
        names = weights_names()
        for name in names:
            folder = weights_folder(name)
            print_plain(console, f"{name}: {'comes with relight-live' if folder.parent == PACKAGED else folder}")
        if DEFAULT_NAME not in names:
            print_plain(console, f"{DEFAULT_NAME} is not in {weights_home()}: relight weights fetch")
        return
    found = find_weights(where, svd)
    table = Table("part", "parameters", "published size", "MB", "files", box=None, pad_edge=False)
    for report in describe(found):
        size = f"{report.bytes / 1e6:,.1f}" if report.bytes else "missing"
        published = {None: "", True: "yes", False: "no"}[report.published]
        files = ", ".join(path.name for path in report.files)
        table.add_row(report.name, f"{report.parameters:,}", published, size, escape(files))
    print_plain(console, f"{found.root} ({found.layout} layout)")
    console.print(table)


@weights.command()
def convert(
    source: Where,
    destination: Annotated[Path, typer.Argument(help="New folder.")],
    dtype: Annotated[str, typer.Option(help="fp32, fp16 or bf16; default: what the files have.")] = "",
    svd: Svd = None,
) -> None:
    """Check the published files and write them as safetensors with a manifest, hashes and a model card."""
    _need_torch()
    from lcvd.errors import WeightsError
    from lcvd.model import DTYPES
    from lcvd.weights.convert import convert as convert_folder

    if dtype and dtype not in DTYPES:
        raise WeightsError(f"--dtype {dtype!r} is not a precision of weights", f"one of {', '.join(DTYPES)}")
    console = Console(stderr=True)
    with console.status("checking") as status:
        precision = DTYPES[dtype] if dtype else None
        convert_folder(source, destination, precision, svd, on_part=lambda part: status.update(f"converting {part}"))
    print_plain(console, f"{destination}: written")


@weights.command()
def verify(where: Where, svd: Svd = None) -> None:
    """Read every tensor and compare names, shapes, values and hashes; exit status 1 when something is wrong."""
    _need_torch()
    from lcvd.weights.convert import verify as check
    from lcvd.weights.load import find_weights

    console = Console(stderr=True)
    found = find_weights(where, svd)
    with console.status("reading") as status:
        problems = check(found, on_part=lambda part: status.update(f"reading {part}"))
    for problem in problems:
        print_plain(console, f"wrong: {problem}")
    if problems:
        raise typer.Exit(1)
    print_plain(console, f"{found.root}: {', '.join(found.parts)} are whole")


@weights.command()
def tiny(
    folder: Annotated[Path, typer.Argument(help="New folder.")],
    seed: Annotated[int, typer.Option(help="Other seeds give other random weights.")] = 0,
    temporal_vae: Annotated[bool, typer.Option("--temporal-vae", help="SVD's temporal decoder as well.")] = False,
    taesd: Annotated[bool, typer.Option("--taesd", help="A tiny decoder of live pictures as well.")] = False,
) -> None:
    """Write a random model of a few million parameters in the published layout, to try everything without weights."""
    _need_torch()
    from lcvd.weights.tiny import write_tiny

    count = write_tiny(folder, seed, temporal_vae, taesd)
    print_plain(Console(stderr=True), f"{folder}: {count:,} random parameters; it draws noise")


def _need_torch() -> None:
    from lcvd.errors import ModelUnavailable

    for package in ("torch", "diffusers", "transformers", "safetensors", "huggingface_hub"):
        if importlib.util.find_spec(package) is None:
            raise ModelUnavailable(f"LCVD needs {package}", "pip install -e '.[lcvd]'")
