"""`relight evaluate` scores a relit clip: a table for people, one JSON line for programs."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from engine.offline.video_file import ClipReader
    from lcvd.metrics.evaluation import Outcome, Report
    from lcvd.metrics.metric import Picture
    from lcvd.types import Face

ARROWS = {"lower": "↓", "higher": "↑"}


# Options that only one of the two kinds of evaluation understands.
OF_CLIPS = ("result", "driver", "light", "reference", "cross_identity", "weights_dir", "image_quality")
OF_HEADS = (
    "weights", "device", "heads", "size", "steps", "sampler", "omega", "omegas", "ablations", "seed", "out", "quick",
    "facekit",
)  # fmt: skip
HEADS = "Rendered heads"


def evaluate(
    ctx: typer.Context,
    result: Annotated[Path | None, typer.Argument(help="The relit clip.")] = None,
    driver: Annotated[Path | None, typer.Option("--driver", "-d", help="The clip it was made from.")] = None,
    light: Annotated[
        str | None,
        typer.Option("--light", "-l", help="The light it was asked for: a preset, .json, .hdr, .exr or face photo."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", "-r", help="Portrait of the person it shows; default: the driver's.")
    ] = None,
    cross_identity: Annotated[
        bool, typer.Option("--cross-identity", help="The driver is another person: compare no pixels with it.")
    ] = False,
    weights_dir: Annotated[
        list[Path] | None, typer.Option("--weights-dir", help="Folder with the metrics' weights; may be repeated.")
    ] = None,
    image_quality: Annotated[str, typer.Option(help="pyiqa's name of the model behind IQ.")] = "qalign",
    frames: Annotated[
        int, typer.Option(min=0, help="Only the first N frames (the paper: 100); 0 for all. Heads: of each; 0 for 15.")
    ] = 0,
    json_only: Annotated[bool, typer.Option("--json", help="No table, only the JSON line.")] = False,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Measure a model on rendered heads, against true pixels.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="3 heads, 7 frames.", rich_help_panel=HEADS)] = False,
    weights: Annotated[str, typer.Option(help="LCVD's weights: a folder or a name.", rich_help_panel=HEADS)] = "nano",
    heads: Annotated[int | None, typer.Option(min=1, help="Default: 24.", rich_help_panel=HEADS)] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=999, help="Default: live's or 25.", rich_help_panel=HEADS)
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="euler (default) or ddim.", rich_help_panel=HEADS)] = None,
    omega: Annotated[
        float | None,
        typer.Option(min=0, help="Of the headline. Default: the weights' own, or 4.5.", rich_help_panel=HEADS),
    ] = None,
    omegas: Annotated[
        str | None, typer.Option(help="Guidance to compare. Default: 1,2,4,6,8.", rich_help_panel=HEADS)
    ] = None,
    ablations: Annotated[
        bool, typer.Option("--ablations/--no-ablations", help="Or the headline alone.", rich_help_panel=HEADS)
    ] = True,
    size: Annotated[
        int | None, typer.Option(help="Px. Default: the weights' own, or 128.", rich_help_panel=HEADS)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=65535, help="Other heads, noise.", rich_help_panel=HEADS)] = 0,
    facekit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="facekit.npz: scanned heads, not drawn ones.", rich_help_panel=HEADS),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.", rich_help_panel=HEADS)] = "cpu",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for tables, plot and sheet.", rich_help_panel=HEADS)
    ] = None,
) -> None:
    """Measure a relit clip: light, flicker, background, pose, and the paper's metrics where their weights are.

    Or, with --synthetic, a model: relit heads against what they truly look like, and the paper's two ablations.
    The last line of stdout is one JSON document. docs/evaluate.md explains every metric and where weights come from.
    """
    given = {name for name in (*OF_CLIPS, *OF_HEADS) if _given(ctx, name)}
    if synthetic:
        from server.cli.evaluate_synthetic import SyntheticOptions, evaluate_synthetic

        _refuse(given.intersection(OF_CLIPS), "--synthetic renders its own heads: there is no clip")
        evaluate_synthetic(
            SyntheticOptions(
                weights=weights,
                device=device,
                heads=heads,
                frames=frames or None,
                size=size,
                steps=steps,
                sampler=sampler,
                omega=omega,
                omegas=omegas,
                ablations=ablations,
                seed=seed,
                out=out,
                quick=quick,
                json_only=json_only,
                facekit=facekit,
            )
        )
        return
    _refuse(given.intersection(OF_HEADS), "only with --synthetic; a clip is measured as it is")
    for name, value in (("RESULT", result), ("--driver", driver), ("--light", light)):
        if value is None:
            raise typer.BadParameter("needed to measure a clip (or --synthetic to measure a model)", param_hint=name)
    assert result is not None
    assert driver is not None
    assert light is not None
    evaluate_clip(result, driver, light, reference, cross_identity, weights_dir, image_quality, frames, json_only)


def _given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse(options: set[str], reason: str) -> None:
    if options:
        names = ["RESULT" if name == "result" else "--" + name.replace("_", "-") for name in sorted(options)]
        raise typer.BadParameter(reason, param_hint=", ".join(names))


def evaluate_clip(
    result: Path,
    driver: Path,
    light: str,
    reference: Path | None,
    cross_identity: bool,
    weights_dir: list[Path] | None,
    image_quality: str,
    frames: int,
    json_only: bool,
) -> None:
    """Measures result and driver side by side, frame by frame. Raises ClipError, LightError or ImageError."""
    from engine.errors import ClipError
    from engine.offline.video_file import ClipReader
    from lcvd.matting.selfie import SelfieMatte
    from lcvd.metrics import Request, metrics_for
    from lcvd.metrics.evaluation import evaluate as run
    from lcvd.tracking.mesh import MeshTracker
    from server.cli.arguments.light import lighting_from_argument
    from server.settings import Settings

    for folder in weights_dir or []:
        if not folder.is_dir():
            raise typer.BadParameter(f"{folder} is not a folder", param_hint="--weights-dir")
    if cross_identity and reference is None:
        raise typer.BadParameter("name the person of the result with --reference", param_hint="--cross-identity")
    lighting = lighting_from_argument(light)
    portrait, portrait_face = read_portrait(reference) if reference is not None else (None, None)
    console = Console(stderr=json_only, quiet=json_only)
    with console.status("counting frames"):
        count = common_count(result, driver)
    count = min(count, frames) if frames else count
    request = Request(
        lighting=lighting,
        frames=count,
        reference=portrait,
        reference_face=portrait_face,
        person="other" if cross_identity else "same",
        files=tuple(str(folder) for folder in weights_dir or []),
        image_quality=image_quality,
    )
    models = Settings().models_dir
    # Unsmoothed: a filter's lag would be measured as the clip's.
    with ClipReader(result) as a, ClipReader(driver) as b, console.status("measuring") as status:
        report = run(
            pairs(a, b, count),
            metrics_for(request),
            request,
            MeshTracker(directory=models, smoothing=None),
            MeshTracker(directory=models, smoothing=None),
            SelfieMatte(directory=models),
            on_frame=lambda done: status.update(f"measuring: frame {done} of {count}"),
        )
    for path, faces in ((result, report.result_faces), (driver, report.driver_faces)):
        if not faces:
            raise ClipError(f"{path}: no face in any of {report.frames} frames", "give a clip that shows a face")
    document = as_json(report, result, driver, light, reference)
    show(report, light, console)
    print(json.dumps(document, allow_nan=False), flush=True)


def read_portrait(path: Path) -> "tuple[Picture, Face]":
    """Returns the portrait and its face. Raises ImageError."""
    from lcvd.errors import ImageError
    from lcvd.tracking.mesh import MeshTracker
    from server.cli.arguments.input_file import read_input
    from server.http.uploads import open_photo
    from server.settings import Settings

    settings = Settings()
    data = read_input(path, settings.max_upload_bytes, ImageError)
    rgb, _ = open_photo(data, path.name, settings.max_image_pixels)
    face = MeshTracker(directory=settings.models_dir, smoothing=None).track(rgb, 0.0)
    if face is None:
        raise ImageError(f"reference {path}: no face was found", "give a portrait with one clear face")
    return rgb, face


def common_count(result: Path, driver: Path) -> int:
    """Returns the number of frames of both clips, counted by decoding. Raises ClipError where they differ."""
    from engine.errors import ClipError
    from engine.offline.video_file import ClipReader

    counts = []
    for path in (result, driver):
        with ClipReader(path) as reader:
            counts.append(sum(1 for _ in reader.frames()))
    if counts[0] != counts[1]:
        raise ClipError(
            f"{result} has {counts[0]} frames, {driver} has {counts[1]}",
            "give the very clip that the result was made from, or cut both to the same frames",
        )
    return counts[0]


def pairs(result: "ClipReader", driver: "ClipReader", count: int) -> "Iterator[tuple[Picture, Picture, float]]":
    """Yields the first `count` frames of both clips, side by side, with the driver's times."""
    for index, (a, b) in enumerate(zip(result.frames(), driver.frames(), strict=False)):
        if index == count:
            return
        yield a.rgb, b.rgb, b.t_s


def as_json(report: "Report", result: Path, driver: Path, light: str, reference: Path | None) -> dict[str, Any]:
    """Returns the document: the inputs, and every metric with its value or the reason why it was skipped."""
    return {
        "result": str(result),
        "driver": str(driver),
        "light": light,
        "reference": str(reference) if reference is not None else None,
        "frames": report.frames,
        "result_faces": report.result_faces,
        "driver_faces": report.driver_faces,
        "metrics": {outcome.info.name: _entry(outcome) for outcome in report.outcomes},
    }


def _entry(outcome: "Outcome") -> dict[str, Any]:
    info = outcome.info
    entry: dict[str, Any] = {
        "value": None,
        "better": info.better,
        "unit": info.unit,
        "paper": info.column or None,
        "source": info.source,
    }
    if outcome.score is not None:
        entry["value"] = _finite(outcome.score.value)
        entry["frames"] = outcome.score.frames
        entry["details"] = {key: _finite(value) for key, value in outcome.score.details.items()}
    if outcome.missing is not None:
        entry["skipped"] = {"reason": outcome.missing.reason, "remedy": outcome.missing.remedy}
    return entry


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def show(report: "Report", light: str, console: Console) -> None:
    """Prints the table, and below it what was skipped and the remedy."""
    table = Table("metric", "value", "", "unit", "details", title=escape(f"light {light}, {report.frames} frames"))
    table.columns[1].justify = "right"
    skipped = [outcome for outcome in report.outcomes if outcome.score is None]
    for outcome in report.outcomes:
        if outcome.score is None:
            continue
        info, score = outcome.info, outcome.score
        details = ", ".join(f"{key} {value:.4g}" for key, value in score.details.items())
        table.add_row(info.name, f"[bold]{score.value:.4g}[/]", ARROWS[info.better], info.unit, f"[dim]{details}[/]")
    console.print(table)
    console.print(
        f"[dim]faces in {report.result_faces} frames of the result, {report.driver_faces} of the driver[/]",
        highlight=False,
    )
    for outcome in report.outcomes:
        if outcome.score is not None:
            console.print(
                f"[dim]{outcome.info.name}: {escape(outcome.info.source)}[/]", highlight=False, soft_wrap=True
            )
    for outcome in skipped:
        assert outcome.missing is not None
        reason, remedy = escape(outcome.missing.reason), escape(outcome.missing.remedy)
        console.print(
            f"[yellow]{outcome.info.name}[/] skipped: {reason}. Try: {remedy}",
            highlight=False,
            soft_wrap=True,
        )
