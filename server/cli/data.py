"""`relight data` prepares footage for training, checks and shows it. The work is done in `training`."""

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from server.cli.plain import print_plain

if TYPE_CHECKING:
    from training.prepare.run import Outcome
    from training.prepare.run import Progress as State

data = typer.Typer(name="data", help="Training data: prepare, verify, show.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="A prepared folder.")]
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[status]}"),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)
SHOWN = 20  # rejections in the table; all of them are in rejected.jsonl


@data.command()
def prepare(
    videos: Annotated[list[Path], typer.Argument(help="Videos, or folders: plain, CelebV-HQ, VFHQ or HDTF.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the shards; an unfinished one goes on.")],
    layout: Annotated[str, typer.Option(help="auto, videos, celebv-hq, vfhq or hdtf.")] = "auto",
    size: Annotated[int, typer.Option(help="Side of the square crop in px, a multiple of 8.")] = 512,
    frames: Annotated[int, typer.Option(help="Frames of a sample.")] = 16,
    rate: Annotated[int, typer.Option(help="Every RATE-th frame of the footage is taken.")] = 4,
    max_clips: Annotated[int, typer.Option(help="Samples of one video at most; 0: all that fit.")] = 0,
    min_face: Annotated[float, typer.Option(help="Smallest width of a face in the footage, px.")] = 48.0,
    quality: Annotated[str, typer.Option(help="auto, basic, or faster-vqa (needs its weights).")] = "auto",
    threshold: Annotated[
        float | None, typer.Option(help="Least quality; default: 0.6 for faster-vqa, 0.35 for basic.")
    ] = None,
    weights_dir: Annotated[
        list[Path] | None, typer.Option("--weights-dir", help="Folder with FasterVQA's files; may be repeated.")
    ] = None,
    jpeg_quality: Annotated[int, typer.Option(help="Of the frames; 0: png.")] = 95,
    shard_mb: Annotated[int, typer.Option(min=1, help="Size of a shard in MiB.")] = 256,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", min=0, help="Processes; 0: this one. Default: one a core.")
    ] = None,
    deca: Annotated[Path | None, typer.Option(help="Folder with DECA and FLAME (docs/deca.md).")] = None,
    u2net: Annotated[Path | None, typer.Option(help="u2net_human_seg.pth (docs/deca.md).")] = None,
) -> None:
    """Cut footage into clips with hints, masks and tracker parameters, in WebDataset shards.

    Interrupted, the same command goes on. The last line of stdout is one JSON document. Exit status: 0, 1 where no clip
    came of any video, 2 for a mistake or a full disk, 130 after Ctrl-C.
    """
    from server.settings import Settings
    from training.prepare.layouts import find_sources
    from training.prepare.run import prepare as run
    from training.prepare.settings import PrepareSettings

    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, _terminated)
    settings = PrepareSettings(
        size=size,
        frames=frames,
        rate=rate,
        min_face_px=min_face,
        quality=quality,
        threshold=threshold,
        max_clips=max_clips,
        jpeg_quality=jpeg_quality,
        shard_bytes=shard_mb * 2**20,
        deca=deca,
        u2net=u2net,
        weights=tuple(weights_dir or ()),
        models=Settings().models_dir,
    )
    with console.status("looking for footage"):
        found = find_sources(videos, layout)
    if found.missing:
        print_plain(console, f"{len(found.missing)} clips of the lists have no video here, such as {found.missing[0]}")
    count = _cores() if workers is None else workers
    began = time.perf_counter()
    try:
        with Progress(*COLUMNS, console=console) as progress:
            task = progress.add_task("videos", total=len(found.sources), status="")

            def show(state: "State") -> None:
                rate = state.frames / max(time.perf_counter() - began, 1e-3)
                status = f"{state.clips} clips, {state.rejected} rejected, {rate:.0f} frames/s"
                progress.update(task, completed=state.done, status=status)

            outcome = run(found.sources, output, settings, workers=count, on_progress=show)
    except KeyboardInterrupt:
        print_plain(console, f"interrupted; the same command goes on from what {output} holds")
        raise
    document = _document(outcome, output, time.perf_counter() - began)
    _summary(console, outcome, output, document)
    print(json.dumps(document), flush=True)
    if not outcome.document["totals"]["clips"]:
        raise typer.Exit(1)


@data.command()
def verify(folder: Folder) -> None:
    """Compare every shard with its SHA-256. Exit status 1 where one is damaged."""
    from training.data.dataset import verify as check

    console = Console()
    damaged = 0
    for shard, trouble in check(folder):
        damaged += trouble is not None
        status = "[green]whole[/]" if trouble is None else f"[red]{escape(trouble)}[/]"
        console.print(f"{escape(str(shard))}  {status}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if damaged else 0)


@data.command()
def sheet(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture, .png or .jpg.")],
    clips: Annotated[int, typer.Option(min=1, max=64, help="How many.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Which.")] = 0,
) -> None:
    """Draw a contact sheet: each clip's reference and three moments, as frame, hint laid over, hint, cut-out."""
    import cv2

    from training.data.dataset import ClipDataset, ClipStream
    from training.data.sheet import sheet as draw
    from training.errors import DataError

    dataset = ClipDataset([folder])
    stream = ClipStream(dataset, seed=seed)
    shown = [next(stream) for _ in range(min(clips, len(dataset)))]
    try:
        written = cv2.imwrite(str(output), draw(shown)[:, :, ::-1])
    except cv2.error:  # an ending it has no writer for
        written = False
    if not written:
        raise DataError(f"{output}: cannot be written", "name a .png in a folder that exists")
    print_plain(Console(stderr=True), f"{output}: {', '.join(clip.name for clip in shown)}")


def _terminated(number: int, frame: Any) -> None:
    raise KeyboardInterrupt  # the same clean end as Ctrl-C


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _document(outcome: "Outcome", output: Path, seconds: float) -> dict[str, Any]:
    frames = outcome.progress.frames
    return {
        "data": str(output),
        **outcome.document["totals"],
        "shards": len(outcome.document["shards"]),
        "resumed": outcome.resumed,
        "frames_this_run": frames,
        "seconds": round(seconds, 2),
        "frames_per_s": round(frames / seconds, 2) if frames else None,
    }


def _summary(console: Console, outcome: "Outcome", output: Path, document: dict[str, Any]) -> None:
    from training.data.assembly import REJECTED

    rows = [json.loads(line) for line in (output / REJECTED).read_text().splitlines()]
    if rows:
        table = Table("video", "clip", "reason", title=f"rejected: {len(rows)}")
        for row in rows[:SHOWN]:
            table.add_row(escape(row["file"]), escape(row["clip"] or "all"), escape(row["reason"]))
        console.print(table)
        if len(rows) > SHOWN:
            print_plain(console, f"and {len(rows) - SHOWN} more in {output / REJECTED}")
    if not outcome.progress.frames and outcome.resumed:
        print_plain(console, "nothing was left to do")
    speed = f", {document['frames_per_s']} frames/s" if document["frames_per_s"] else ""
    print_plain(
        console,
        f"{output}: {document['clips']} clips of {document['sources']} videos in {document['shards']} shards, "
        f"{document['bytes'] / 2**20:.1f} MiB{speed}",
    )
