"""What the commands of `relight surface` have in common: the kit's option and the columns of their progress."""

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

COLUMNS = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[status]}"),
           TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
KIT = typer.Option("--facekit", metavar="FILE", help="facekit.npz of ICT-FaceKit (docs/surface/).")
