"""`relight lights` shows the presets as a table, as JSON, or as a picture."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from server.cli.plain import print_plain


def lights(
    as_json: Annotated[bool, typer.Option("--json", help="Print the lights as the API serves them.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG with a ball under every light.")] = None,
) -> None:
    """List the lights a participant can choose."""
    from lcvd.lighting.presets import PRESETS
    from server.light_message import Light

    if sheet is not None and not sheet.parent.is_dir():
        raise typer.BadParameter(f"{sheet.parent} is no folder", param_hint="--sheet")
    if as_json:
        rows = [
            {
                "name": entry.name,
                "title": entry.title,
                "description": entry.description,
                "lighting": Light.of(entry.lighting).model_dump(),
            }
            for entry in PRESETS
        ]
        print(json.dumps(rows))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("name", style="bold")
    table.add_column("what it is")
    table.add_column("lights", justify="right")
    for entry in PRESETS:
        table.add_row(entry.name, entry.description, str(len(entry.lighting.directionals)))
    Console().print(table)
    if sheet is not None:
        from lcvd.lighting.ball import render_sheet

        sheet.write_bytes(render_sheet(PRESETS))
        print_plain(Console(), f"wrote {sheet}")
