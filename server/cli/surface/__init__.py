"""`relight surface` makes and judges the CPU engine's surface network. The work is in `training.surface`."""

import typer

from server.cli.surface.evaluate import evaluate
from server.cli.surface.quantize import quantize
from server.cli.surface.train import train

surface = typer.Typer(name="surface", help="Make and judge the CPU engine's surface network.", no_args_is_help=True)
surface.command()(train)
surface.command()(evaluate)
surface.command()(quantize)
