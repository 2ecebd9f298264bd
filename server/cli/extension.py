"""`relight extension` lays the browser extension out in a folder, ready for Chrome's “Load unpacked”."""

import shutil
from pathlib import Path
from typing import Annotated
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import typer
from rich.console import Console

SOURCE = Path(__file__).resolve().parents[2] / "client_web" / "extension"
MARK = "manifest.json"  # a folder that has it is an extension we may replace
# Scripts that the browser takes as one file each; the session's is imported by the extension's own script.
JOINED = {"page.js": ("page/main.js", False), "content.js": ("content/main.js", False)}
SESSION = ("session.js", "content/sessions.js")
COPIED = ("icons", "popup", "worker")
# The popup is made of our page's parts; its addresses reach above the extension's root, where a browser stays at it.
STYLES = ("style.css", "panel.css", "stage.css", "avatar.css", "icon.svg", "icons.svg")


def extension(
    folder: Annotated[Path, typer.Argument(help="Folder to write; an extension that is there already is replaced.")],
) -> None:
    """Write the browser extension into a folder, and beside it as a .zip."""
    from server.errors import ServerError

    if folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is a file; name a folder", param_hint="FOLDER")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise typer.BadParameter(f"{folder} holds other files; name an empty or a new folder", param_hint="FOLDER")
    try:
        write_extension(folder)
        archive = write_archive(folder)
    except (ServerError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="FOLDER") from error
    console = Console(soft_wrap=True)
    console.print(f"wrote {folder} and {archive}", highlight=False, markup=False)
    console.print("Chrome: chrome://extensions → Developer mode → Load unpacked → the folder (docs/extension.md)")


def write_extension(folder: Path) -> None:
    """Writes the extension's files into `folder`, which is emptied first. Raises BadModule, OSError."""
    from server.cli.modules import imported_files, join_modules

    client_web = SOURCE.parent
    joined = {name: join_modules(SOURCE / entry, module=module) for name, (entry, module) in JOINED.items()}
    joined[SESSION[0]] = join_modules(SOURCE / SESSION[1], module=True)
    shared = [path for path in imported_files(SOURCE / "popup" / "main.js") if SOURCE not in path.parents]
    shared += [client_web / name for name in STYLES]
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in COPIED:
        shutil.copytree(SOURCE / name, folder / name)
    for path in shared:
        (folder / path.relative_to(client_web)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.relative_to(client_web))
    for name, text in joined.items():
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copyfile(SOURCE / MARK, folder / MARK)  # last: a folder without it was not finished


def write_archive(folder: Path) -> Path:
    """Writes `folder` as FOLDER.zip beside it, the same bytes for the same files, and returns its path."""
    archive = folder.resolve().with_name(f"{folder.resolve().name}.zip")
    with ZipFile(archive, "w", ZIP_DEFLATED) as target:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                target.writestr(ZipInfo(str(path.relative_to(folder))), path.read_bytes(), ZIP_DEFLATED)
    return archive
